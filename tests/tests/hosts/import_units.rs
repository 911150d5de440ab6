//! Units of a booted host: import writes those about which somebody has decided something, and no others.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use e2e::{Host, Image, TestEnv};
use serde_json::Value;

const OUT: &str = "/root/host.kdl";

/// What somebody does to units, with other tools than stead.
const BY_HAND: &str = r"
    cd /etc/systemd/system
    unit() { name=$1; shift; printf '%s\n' '[Service]' 'ExecStart=sleep infinity' '[Install]' 'WantedBy=multi-user.target' $@ >$name; }
    unit mine.service; unit later.service; unit other.service; unit work@.service
    unit private.service; chmod 0600 private.service
    unit also.service Also=other.service
    unit /opt/linked.service
    printf '[Service]\nType=oneshot\nExecStart=true\n' >tick.service
    printf '[Timer]\nOnCalendar=yearly\n[Install]\nWantedBy=timers.target\n' >tick.timer
    printf '[Service]\nExecStart=sleep infinity\nEnvironment=API_TOKEN=abc123\n' >token.service
    { printf '[Service]\nExecStart=sleep infinity\n'; printf '# %01000d\n' $(seq 20); } >long.service
    printf '[Service]\nExecStart=sleep infinity\n' >talk.service
    printf '[Socket]\nListenStream=/run/talk\n[Install]\nWantedBy=sockets.target\n' >talk.socket
    : >empty.service
    mkdir ssh.service.d nginx.service.d
    printf '[Service]\nNice=5\n' >ssh.service.d/override.conf
    printf '[Service]\nNice=3\n' >nginx.service.d/10-nice.conf; echo 'a note' >nginx.service.d/50-note.txt
    systemctl daemon-reload
    systemctl --quiet enable --now mine.service tick.timer talk.socket private.service also.service work@1000.service
    systemctl --quiet enable later.service serial-getty@ttyS5.service nftables.service
    systemctl start work@2000.service
    systemctl restart ssh.service
    systemctl --quiet disable apparmor.service
    systemctl --quiet mask apt-daily.timer
    systemctl --quiet link /opt/linked.service
    systemctl --quiet set-default multi-user.target
";

/// What import makes of it, without the units of the test host.
const UNITS: &str = r#"
    unit "also.service" enabled=#true running=#true
    unit "apparmor.service" enabled=#false running=#false
    unit "apt-daily.timer" running=#false masked=#true
    // drift: it starts at the next boot
    unit "later.service" enabled=#true running=#false {
        content """
            [Service]
            ExecStart=sleep infinity
            [Install]
            WantedBy=multi-user.target

            """
    }
    unit "long.service" source="host.d/etc/systemd/system/long.service" running=#false
    unit "mine.service" enabled=#true running=#true {
        content """
            [Service]
            ExecStart=sleep infinity
            [Install]
            WantedBy=multi-user.target

            """
    }
    // drift: it starts at the next boot
    unit "nftables.service" enabled=#true running=#false
    // drift: it starts at the next boot
    unit "other.service" enabled=#true running=#false {
        content """
            [Service]
            ExecStart=sleep infinity
            [Install]
            WantedBy=multi-user.target

            """
    }
    unit "private.service" enabled=#true running=#true
    // drift: it starts at the next boot
    unit "serial-getty@ttyS5.service" enabled=#true running=#false
    unit "ssh.service" {
        drop-ins {
            override """
                [Service]
                Nice=5

                """
        }
    }
    unit "talk.service" {
        content """
            [Service]
            ExecStart=sleep infinity

            """
    }
    unit "talk.socket" enabled=#true running=#true {
        content """
            [Socket]
            ListenStream=/run/talk
            [Install]
            WantedBy=sockets.target

            """
    }
    unit "tick.service" {
        content """
            [Service]
            Type=oneshot
            ExecStart=true

            """
    }
    unit "tick.timer" enabled=#true running=#true {
        content """
            [Timer]
            OnCalendar=yearly
            [Install]
            WantedBy=timers.target

            """
    }
    unit "work@.service" {
        content """
            [Service]
            ExecStart=sleep infinity
            [Install]
            WantedBy=multi-user.target

            """
    }
    unit "work@1000.service" enabled=#true running=#true
    // drift: it does not start at the next boot
    unit "work@2000.service" enabled=#false running=#true
"#;

/// Returns the units that a spec has, without those of the test host.
fn units(spec: &str) -> String {
    let (_, units) = spec.split_once("disabled or masked.").unwrap();
    let mut rest = units.trim_end_matches("}\n").to_owned();
    for name in ["snapd", "uplink", "store"] {
        let head = format!("    unit \"{name}.service\"");
        while let Some((before, after)) = rest.clone().split_once(&head) {
            let (_, after) = after.split_once("\n    }\n").unwrap();
            rest = before.to_owned() + after;
        }
    }
    rest
}

fn import(host: &Host) -> (String, Value) {
    host.stead_exits(&["import", "--out", OUT], 0);
    host.stead_exits(&["plan", OUT], 0);
    let json = host.stead_exits(&["import", "--json"], 0);
    (
        host.get(OUT).unwrap(),
        serde_json::from_str(&json.out).unwrap(),
    )
}

#[test]
fn import_recreates_units_that_an_admin_configured() {
    let one = Host::boot(Image::Debian13);
    one.run_ok(&["sh", "-ec", BY_HAND]);
    let (spec, document) = import(&one);
    assert_eq!(units(&spec), UNITS);
    for line in [
        "    directory \"/etc/systemd/system/nginx.service.d\"\n",
        "    file \"/etc/systemd/system/also.service\" mode=\"0644\" {\n",
        "    file \"/etc/systemd/system/empty.service\" content=\"\" mode=\"0644\"\n",
        "    file \"/etc/systemd/system/nginx.service.d/10-nice.conf\" mode=\"0644\" {\n",
        "    file \"/etc/systemd/system/private.service\" mode=\"0600\" {\n",
        "    symlink \"/etc/systemd/system/default.target\" \"/usr/lib/systemd/system/multi-user.target\"\n",
        "    symlink \"/etc/systemd/system/linked.service\" \"/opt/linked.service\"\n",
    ] {
        assert!(spec.contains(line), "{line}{spec}");
    }
    assert!(!spec.contains("abc123") && !spec.contains("/etc/systemd/system/mine"));
    let coverage = &document["coverage"]["unit"];
    assert_eq!(coverage["secrets"], serde_json::json!(["token.service"]));
    assert!(
        coverage["foreign"]["snapd"].as_u64() > Some(0),
        "{coverage}"
    );

    let two = Host::boot(Image::Debian13);
    one.copy_to(OUT, &two);
    one.copy_to("/root/host.d", &two);
    // Where a link leads is not in /etc, and not for import to say.
    two.put(
        "/opt/linked.service",
        &one.get("/opt/linked.service").unwrap(),
    );
    let plan = two.stead(&["plan", "--json", OUT]);
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    let planned: Vec<&str> = plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|change| change["address"].as_str())
        .collect();
    let written = UNITS.lines().filter_map(|line| {
        let name = line.strip_prefix("    unit \"")?;
        Some(format!("unit:{}", name.split('"').next()?))
    });
    for address in written {
        assert!(
            planned.contains(&address.as_str()),
            "{address}: {planned:?}"
        );
    }
    two.stead_exits(&["apply", "--yes", OUT], 0);
    assert_eq!(import(&two).0, spec);
    for (verb, unit, expected) in [
        ("is-active", "mine.service", "active"),
        ("is-active", "work@2000.service", "active"),
        ("is-enabled", "work@1000.service", "enabled"),
        ("is-enabled", "later.service", "enabled"),
        ("is-enabled", "apparmor.service", "disabled"),
        ("is-enabled", "apt-daily.timer", "masked"),
        ("is-enabled", "tick.timer", "enabled"),
    ] {
        assert_eq!(
            two.run(&["systemctl", verb, unit]).out.trim(),
            expected,
            "{unit}"
        );
    }
    // Edited and not restarted: nothing is written of it, and it is named.
    two.put(
        "/etc/systemd/system/mine.service",
        "[Service]\nExecStart=sleep 10000\n",
    );
    let (spec, document) = import(&two);
    assert!(!spec.contains("unit \"mine.service\""), "{spec}");
    let ignored = document["coverage"]["unit"]["ignored"].to_string();
    assert!(ignored.contains("outdated unit files"), "{ignored}");
    assert!(ignored.contains("mine.service"), "{ignored}");
}
