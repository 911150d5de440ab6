//! The page of `stead history --html`, in a real browser. Where none can be had, `make test` leaves this out and says so.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test looks at its sandbox with its own eyes and stops at the first surprise"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use e2e::{Sandbox, TestEnv};

/// What a script would do that ran: every way to run one without a click, and an end for each element that could hold it.
const HOSTILE: &str = r#"</code></pre></details></title></style><script>document.title = "ran"</script>
<img src="x" onerror="document.title = 'ran'"><svg onload="document.title = 'ran'"></svg>
<iframe srcdoc="<script>parent.document.title = 'ran'</script>"></iframe>
"#;

/// What would lead elsewhere.
const REDIRECTS: &str = r#"<meta http-equiv="refresh" content="0;url=about:blank"><link rel="stylesheet" href="x.css">
"#;

/// Makes a host on which one run is done and one has failed, all of them about hostile texts, and returns its page.
fn history_page() -> String {
    let sandbox = Sandbox::new();
    let spec = |more: &str| {
        let text = format!("{HOSTILE}{REDIRECTS}").replace('\n', "\n            ");
        format!(
            "host \"<script>document.title='ran'</script>\" {{\n    file \"/srv/<img src=x onerror=document.title=1>\" {{\n        \
             content #\"\"\"\n            {text}\"\"\"#\n    }}\n{more}}}\n"
        )
    };
    sandbox.put("/run/host.kdl", &spec(""));
    let applied = sandbox.stead(&["apply", "--yes", "/run/host.kdl"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let refused = "    iptables-rule \"x\" chain=\"NOWHERE\" { jump \"ACCEPT\"; }\n";
    let long = format!(
        "    file \"/srv/{}\" {{ content \"{}\"; }}\n",
        "n".repeat(200),
        "w".repeat(5_000)
    );
    sandbox.put("/run/host.kdl", &spec(&(long + refused)));
    let applied = sandbox.stead(&["apply", "--yes", "/run/host.kdl"]);
    assert_eq!(applied.code, Some(1), "{applied:?}");

    let said = sandbox.stead(&["history", "--html", "/run/history.html"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let mode = fs::metadata(sandbox.outside_path("/run/history.html"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    sandbox.run_ok(&["ln", "-s", "/run/host.kdl", "/run/link.html"]);
    let said = sandbox.stead(&["history", "--html", "/run/link.html"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(sandbox.get("/run/host.kdl").unwrap().starts_with("host"));
    sandbox.get("/run/history.html").unwrap()
}

/// A browser of this machine.
struct Browser {
    program: &'static str,
    dir: tempfile::TempDir,
}

impl Browser {
    /// Returns the first that is there.
    fn find() -> Self {
        let is_there = |name: &&str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|dir| dir.join(name).exists())
        };
        let known = ["chromium-headless-shell", "chromium"];
        let program = known.into_iter().find(is_there);
        Self {
            program: program.expect("one of them is installed; `make test` does that"),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Opens a page, does what `arguments` say, and returns what it prints.
    fn open(&self, page: &str, arguments: &[&str]) -> String {
        let path = self.dir.path().join("page.html");
        fs::write(&path, page).unwrap();
        let profile = self.dir.path().join("profile");
        let output = Command::new("timeout")
            .args([
                "120",
                self.program,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args([
                "--host-resolver-rules=MAP * ~NOTFOUND",
                "--virtual-time-budget=3000",
            ])
            .args(arguments)
            .arg(format!("file://{}", path.display()))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Opens a copy of a page that may run scripts, and returns what `script` evaluates to.
    fn evaluate(&self, page: &str, width: u32, script: &str) -> String {
        let policy = page.find("<meta http-equiv=").unwrap();
        let end = policy + page[policy..].find('>').unwrap() + 1;
        let script = format!("<script>document.title = {script}</script></body>");
        let page = format!("{}{}", &page[..policy], &page[end..]).replace("</body>", &script);
        let size = format!("--window-size={width},900");
        title(&self.open(&page, &[&size, "--dump-dom"])).to_owned()
    }
}

fn title(dom: &str) -> &str {
    let (_, rest) = dom.split_once("<title>").unwrap();
    rest.split_once("</title>").unwrap().0
}

#[test]
fn history_page_shows_runs_and_runs_no_script() {
    let page = history_page();
    let browser = Browser::find();
    // The browser runs scripts where it may: else what follows would prove nothing.
    let plain = format!("<title>idle</title><body>{HOSTILE}</body>");
    assert_eq!(title(&browser.open(&plain, &["--dump-dom"])), "ran");

    let dom = browser.open(&page, &["--dump-dom"]);
    assert!(
        title(&dom).starts_with("Runs on &lt;script&gt;"),
        "{}",
        title(&dom)
    );
    for tag in [
        "<script",
        "<img",
        "<svg",
        "<iframe",
        "<link",
        "<meta http-equiv=\"refresh",
    ] {
        assert!(!dom.contains(tag), "{tag} in {dom}");
    }
    assert_eq!(dom.matches("<details class=\"run\"").count(), 2);
    assert_eq!(dom.matches("<details class=\"change\"").count(), 4);
    assert!(dom.contains("&lt;img src=\"x\" onerror="), "{dom}");

    // Even markup that came through would run nothing: the policy of the page stands before it.
    let spoilt = page.replace("</body>", &format!("{HOSTILE}</body>"));
    let dom = browser.open(&spoilt, &["--dump-dom"]);
    assert!(title(&dom).starts_with("Runs on"), "{}", title(&dom));
}

#[test]
fn history_page_fits_narrow_and_wide_windows() {
    let page = history_page();
    let browser = Browser::find();
    let opened = "(document.querySelectorAll('details').forEach(one => one.open = true), \
                  document.documentElement.scrollWidth <= innerWidth ? 'fits' : \
                  document.documentElement.scrollWidth + ' in ' + innerWidth)";
    for width in [500, 1_400] {
        assert_eq!(browser.evaluate(&page, width, opened), "fits", "{width}");
    }
    let shown = "[...document.querySelectorAll('.run > summary')].every(one => one.getBoundingClientRect().height > 10)";
    assert_eq!(browser.evaluate(&page, 1_400, shown), "true");
    let hidden = "[...document.querySelectorAll('.change > p')].some(one => one.checkVisibility())";
    assert_eq!(browser.evaluate(&page, 1_400, hidden), "false");

    browser.open(&page, &["--screenshot=page.png", "--window-size=500,900"]);
    let picture = fs::read(browser.dir.path().join(Path::new("page.png"))).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 5_000);
}
