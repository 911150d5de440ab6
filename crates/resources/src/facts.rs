//! Facts of a host that a spec may ask for: read from files, from systemd and from snapd. The network is not asked.

use std::{collections::BTreeMap, path::Path};

use stead_engine::model::facts::{Fact, Facts, NONE};

use crate::{
    host::Reader,
    kernel::meminfo::Memory,
    microk8s::layout,
    netfilter::{Family, detect_default_backend},
    snapd::client,
};

/// The largest file that is read for a fact, in bytes.
const LIMIT: u64 = 4 << 20;
/// What the firmware says of the machine.
const DMI_DIR: &str = "/sys/class/dmi/id";
/// Numbers of SMBIOS 3.7, table 17, for what is carried around: portable, laptop, notebook, hand held, sub notebook, tablet,
/// convertible, detachable.
const PORTABLE_CHASSIS: [i64; 8] = [8, 9, 10, 11, 14, 30, 31, 32];
/// What the firmware of a machine at Azure says: its documentation calls it the asset tag of all its machines.
const AZURE_ASSET_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

/// Every fact with what it says, sorted by name.
pub const FACTS: [(&str, &str); 19] = [
    ("architecture", "`x86_64`, `aarch64`, …"),
    ("cgroup", "The version of control groups: 1 or 2."),
    (
        "cloud",
        "`azure`, `aws`, `gcp`, `alibaba`, `openstack` or `none`, according to the firmware.",
    ),
    ("cpus", "The number of CPUs that are online."),
    ("disk", "Size of the file system of /, in MiB."),
    (
        "form",
        "`laptop`, `server`, or `vm` for a virtual machine or container.",
    ),
    ("hostname", "The name of this host."),
    (
        "interface",
        "The interface of the default route, or `none`.",
    ),
    (
        "ip6tables",
        "The back end of `ip6tables`: `nft`, `legacy` or `none`.",
    ),
    (
        "iptables",
        "The back end of `iptables`: `nft`, `legacy` or `none`.",
    ),
    (
        "kernel",
        "The release of the kernel, such as `6.8.0-45-generic`.",
    ),
    (
        "memory",
        "In MiB, as the kernel counts it: somewhat less than installed.",
    ),
    ("microk8s", "The version of the snap, or `none`."),
    (
        "microk8s-channel",
        "The channel that it follows, such as `1.32/stable`, or `none`.",
    ),
    ("os", "`debian`, `ubuntu`, …: ID of os-release(5)."),
    (
        "os-version",
        "`13`, `24.04`, …: VERSION_ID of os-release(5), or `none`.",
    ),
    ("snapd", "Its version, or `none`."),
    ("systemd", "Its version, or `none` if it does not run here."),
    (
        "virtualisation",
        "`kvm`, `microsoft`, `lxc`, `docker`, …, or `none`, as reported by systemd-detect-virt(1).",
    ),
];

/// Reads all facts. What cannot be read is `none`.
pub async fn read_facts(host: &Reader) -> Facts {
    let reader = FactReader(host);
    let firmware = Firmware::read(&reader);
    let manager = host.manager().await;
    let virtualisation = match &manager {
        Some(manager) if manager.virtualisation.is_empty() => NONE.to_owned(),
        Some(manager) => manager.virtualisation.clone(),
        None => firmware.virtualisation().to_owned(),
    };
    let (microk8s, channel) = microk8s_snap(host).await;
    // os-release(5): the first is often a link to the second, and links are not followed.
    let os = [
        reader.settings("/etc/os-release"),
        reader.settings("/usr/lib/os-release"),
    ];
    let os = os.into_iter().find(|os| !os.is_empty()).unwrap_or_default();
    let word = |text: Option<String>| Fact::Text(text.unwrap_or_else(|| NONE.to_owned()));
    let back_end =
        |family| detect_default_backend(host, family).map(|back_end| back_end.word().to_owned());
    let found = BTreeMap::from([
        (
            "architecture",
            Fact::Text(std::env::consts::ARCH.to_owned()),
        ),
        ("cgroup", Fact::Number(reader.cgroup())),
        ("cloud", Fact::Text(firmware.cloud().to_owned())),
        ("cpus", Fact::Number(reader.cpus())),
        ("disk", Fact::Number(reader.disk())),
        (
            "form",
            Fact::Text(firmware.form_factor(&virtualisation).to_owned()),
        ),
        ("hostname", word(reader.line("/proc/sys/kernel/hostname"))),
        ("interface", word(reader.interface())),
        ("ip6tables", word(back_end(Family::Ipv6))),
        ("iptables", word(back_end(Family::Ipv4))),
        ("kernel", word(reader.line("/proc/sys/kernel/osrelease"))),
        ("memory", Fact::Number(reader.memory())),
        ("microk8s", word(microk8s)),
        ("microk8s-channel", word(channel)),
        ("os", word(os.get("ID").cloned())),
        ("os-version", word(os.get("VERSION_ID").cloned())),
        ("snapd", word(client::version(host).await.ok())),
        ("systemd", word(manager.map(|manager| manager.version))),
        ("virtualisation", Fact::Text(virtualisation)),
    ]);
    Facts(
        found
            .into_iter()
            .map(|(name, fact)| (name.to_owned(), fact))
            .collect(),
    )
}

/// Returns the version and the channel of MicroK8s.
async fn microk8s_snap(host: &Reader) -> (Option<String>, Option<String>) {
    let Ok(mut snaps) = client::installed_snaps(host, &[layout::SNAP]).await else {
        return (None, None);
    };
    match snaps.remove(layout::SNAP) {
        Some(snap) => (Some(snap.version), Some(snap.channel)),
        None => (None, None),
    }
}

/// The files of a host.
struct FactReader<'a>(&'a Reader);

impl FactReader<'_> {
    fn text(&self, path: &str) -> Option<String> {
        self.0.read_text(Path::new(path), LIMIT).ok().flatten()
    }

    fn line(&self, path: &str) -> Option<String> {
        let text = self.text(path)?;
        let line = text.lines().next().unwrap_or_default().trim();
        (!line.is_empty()).then(|| line.to_owned())
    }

    /// Reads settings as os-release(5) has them.
    fn settings(&self, path: &str) -> BTreeMap<String, String> {
        let text = self.text(path).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| {
                let value = value.trim().trim_matches(['"', '\'']);
                (name.trim().to_owned(), value.to_owned())
            })
            .collect()
    }

    fn memory(&self) -> i64 {
        let memory = Memory::read(self.0).ok().flatten();
        let mebibytes = memory.and_then(|memory| i64::try_from(memory.total >> 20).ok());
        mebibytes.unwrap_or(0)
    }

    fn cpus(&self) -> i64 {
        let text = self.line("/sys/devices/system/cpu/online");
        text.and_then(|text| count_cpus(&text)).unwrap_or(1)
    }

    fn disk(&self) -> i64 {
        let space = self.0.disk_space(Path::new("/")).ok().flatten();
        space
            .and_then(|space| i64::try_from(space.total >> 20).ok())
            .unwrap_or(0)
    }

    fn cgroup(&self) -> i64 {
        let of_two = Path::new("/sys/fs/cgroup/cgroup.controllers");
        if matches!(self.0.stat(of_two), Ok(Some(_))) {
            2
        } else {
            1
        }
    }

    /// Returns the interface of the default route that counts: the one with the lowest metric.
    fn interface(&self) -> Option<String> {
        let text = self.text("/proc/net/route")?;
        let routes = text.lines().skip(1).filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let is_default =
                fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
            let metric: u32 = fields.get(6)?.parse().ok()?;
            is_default.then(|| (metric, fields[0].to_owned()))
        });
        routes.min().map(|(_, interface)| interface)
    }
}

/// Counts a list of the kernel such as `0-3,5`.
fn count_cpus(text: &str) -> Option<i64> {
    let ranges = text.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (i64, i64) = (first.parse().ok()?, last.parse().ok()?);
        Some(last - first + 1)
    });
    ranges.sum()
}

/// What the firmware says of the machine: SMBIOS as the kernel shows it.
struct Firmware {
    vendor: String,
    product: String,
    bios: String,
    asset: String,
    chassis: i64,
    is_hypervisor: bool,
    container: Option<String>,
}

impl Firmware {
    fn read(reader: &FactReader<'_>) -> Self {
        let text = |name: &str| {
            let found = reader.line(&format!("{DMI_DIR}/{name}"));
            found.unwrap_or_default()
        };
        let cpus = reader.text("/proc/cpuinfo").unwrap_or_default();
        let mut flags = cpus.lines().filter(|line| line.starts_with("flags"));
        Self {
            vendor: text("sys_vendor"),
            product: text("product_name"),
            bios: text("bios_vendor") + " " + &text("bios_version"),
            asset: text("chassis_asset_tag"),
            chassis: text("chassis_type").parse().unwrap_or(0),
            is_hypervisor: flags
                .any(|line| line.split_whitespace().any(|flag| flag == "hypervisor")),
            container: reader.line("/run/systemd/container"),
        }
    }

    /// Returns the cloud, by the marks that its machines carry.
    fn cloud(&self) -> &'static str {
        let bios = self.bios.to_lowercase();
        if self.asset == AZURE_ASSET_TAG {
            "azure"
        } else if self.vendor == "Amazon EC2" || bios.contains("amazon") {
            "aws"
        } else if self.product == "Google Compute Engine" {
            "gcp"
        } else if self.vendor.starts_with("Alibaba Cloud")
            || self.product.starts_with("Alibaba Cloud")
        {
            "alibaba"
        } else if self.product.starts_with("OpenStack") || self.vendor.starts_with("OpenStack") {
            "openstack"
        } else {
            NONE
        }
    }

    /// Returns what runs this machine, where systemd does not say it.
    fn virtualisation(&self) -> &str {
        if let Some(container) = &self.container {
            return container;
        }
        let known = [
            ("QEMU", "kvm"),
            ("KVM", "kvm"),
            ("Amazon EC2", "amazon"),
            ("Google", "google"),
            ("OpenStack", "kvm"),
            ("Alibaba", "kvm"),
            ("VMware", "vmware"),
            ("innotek", "oracle"),
            ("VirtualBox", "oracle"),
            ("Xen", "xen"),
        ];
        if !self.is_hypervisor {
            return NONE;
        }
        if self.vendor == "Microsoft Corporation" {
            return "microsoft";
        }
        let of = |mark: &str| self.vendor.contains(mark) || self.product.contains(mark);
        known
            .iter()
            .find(|(mark, _)| of(mark))
            .map_or("vm-other", |(_, name)| name)
    }

    fn form_factor(&self, virtualisation: &str) -> &'static str {
        if virtualisation != NONE {
            "vm"
        } else if PORTABLE_CHASSIS.contains(&self.chassis) {
            "laptop"
        } else {
            "server"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    /// What the firmware of known machines says, and what follows.
    #[test]
    fn cloud_is_detected_from_firmware() {
        for (vendor, product, bios, asset, expected) in [
            (
                "Microsoft Corporation",
                "Virtual Machine",
                "",
                AZURE_ASSET_TAG,
                "azure",
            ),
            // Hyper-V at home says the same, but for its tag.
            (
                "Microsoft Corporation",
                "Virtual Machine",
                "",
                "0000-0000",
                "none",
            ),
            ("Amazon EC2", "t3.medium", "Amazon EC2", "Amazon EC2", "aws"),
            ("Xen", "HVM domU", "Xen 4.11.amazon", "", "aws"),
            ("Google", "Google Compute Engine", "Google", "", "gcp"),
            (
                "Alibaba Cloud",
                "Alibaba Cloud ECS",
                "SeaBIOS",
                "",
                "alibaba",
            ),
            (
                "OpenStack Foundation",
                "OpenStack Nova",
                "SeaBIOS",
                "",
                "openstack",
            ),
            (
                "QEMU",
                "Standard PC (Q35 + ICH9, 2009)",
                "SeaBIOS",
                "",
                "none",
            ),
            ("LENOVO", "20XW", "LENOVO", "No Asset Information", "none"),
        ] {
            let firmware = Firmware {
                vendor: vendor.to_owned(),
                product: product.to_owned(),
                bios: bios.to_owned(),
                asset: asset.to_owned(),
                chassis: 0,
                is_hypervisor: true,
                container: None,
            };
            assert_eq!(firmware.cloud(), expected, "{vendor} {product}");
        }
    }

    #[tokio::test]
    async fn facts_describe_a_laptop_from_its_files() {
        let root = TestRoot::new(&[
            ("etc/os-release", "ID=debian\nVERSION_ID=\"13\"\n"),
            ("sys/class/dmi/id/chassis_type", "10\n"),
            ("sys/class/dmi/id/sys_vendor", "LENOVO\n"),
            ("sys/devices/system/cpu/online", "0-3,6\n"),
            (
                "proc/meminfo",
                "MemTotal:       16384000 kB\nMemFree: 1 kB\n",
            ),
            ("proc/sys/kernel/osrelease", "6.12.48+deb13-amd64\n"),
            ("proc/sys/kernel/hostname", "notebook\n"),
            ("proc/cpuinfo", "processor : 0\nflags : fpu vme\n"),
            (
                "proc/net/route",
                "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
                 wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\n\
                 eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\n\
                 eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\n",
            ),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
        ]);
        let Facts(found) = read_facts(&root.reader()).await;
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(names, FACTS.map(|(name, _)| name));
        for (name, expected) in [
            ("os", "debian"),
            ("os-version", "13"),
            ("form", "laptop"),
            ("cloud", "none"),
            ("virtualisation", "none"),
            ("cpus", "5"),
            ("memory", "16000"),
            ("kernel", "6.12.48+deb13-amd64"),
            ("hostname", "notebook"),
            ("interface", "eth0"),
            ("cgroup", "2"),
            ("snapd", "none"),
            ("microk8s", "none"),
            ("iptables", "none"),
        ] {
            assert_eq!(found[name].to_string(), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn facts_describe_an_azure_machine_as_vm() {
        let root = TestRoot::new(&[
            ("/sys/class/dmi/id/chassis_asset_tag", AZURE_ASSET_TAG),
            ("/sys/class/dmi/id/sys_vendor", "Microsoft Corporation\n"),
            ("/proc/cpuinfo", "flags : fpu hypervisor\n"),
        ]);
        let Facts(found) = read_facts(&root.reader()).await;
        assert_eq!(found["cloud"].to_string(), "azure");
        assert_eq!(found["form"].to_string(), "vm");
        assert_eq!(found["virtualisation"].to_string(), "microsoft");
        assert_eq!(found["cgroup"], Fact::Number(1));
    }
}
