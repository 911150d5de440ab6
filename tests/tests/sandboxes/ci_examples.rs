//! The examples for CI do what they say: their scripts run here as the two systems would run them, on a sandbox for a host.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test looks at its sandbox with its own eyes and stops at the first surprise"
)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use e2e::{
    CommandOutput, Fingerprint, SPEC, Sandbox, TestEnv, difference, program, sandbox_with_spec,
};
use serde_json::Value;

/// Where the repository is checked out.
const REPOSITORY: &str = "/run/builds/hosts";
/// Where plans wait.
const PLANS: &str = "/var/lib/stead-ci";

/// A file of a CI system.
#[derive(Clone, Copy)]
enum System {
    GitLab,
    GitHub,
}

/// What makes a pipeline run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trigger {
    /// A merge request, or pull request.
    Request,
    /// The same from a fork.
    Fork,
    /// It was merged.
    Merged,
}

/// One job, as far as its scripts go.
#[derive(Debug)]
struct Job {
    name: String,
    /// What it runs, each by a shell of its own.
    steps: Vec<Step>,
    /// The files that it hands over.
    artifacts: Vec<String>,
}

#[derive(Debug)]
struct Step {
    environment: BTreeMap<String, String>,
    script: String,
}

/// What came of a job.
struct JobResult {
    name: String,
    output: CommandOutput,
    artifacts: BTreeMap<String, String>,
}

impl System {
    fn document(self) -> Value {
        let name = match self {
            Self::GitLab => "gitlab-ci.yml",
            Self::GitHub => "github.yml",
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/ci");
        serde_saphyr::from_str(&fs::read_to_string(path.join(name)).unwrap()).unwrap()
    }

    /// Returns the options of the shell that it runs scripts by.
    fn shell(self) -> &'static [&'static str] {
        match self {
            Self::GitLab => &["bash", "-e", "-o", "pipefail"],
            Self::GitHub => &["bash", "-e"],
        }
    }

    /// Returns what it tells of a pipeline: variables of the environment, or what `${{ … }}` may ask.
    fn variables(self, trigger: Trigger) -> BTreeMap<&'static str, &'static str> {
        match self {
            Self::GitLab => {
                let mut told = BTreeMap::from([
                    ("CI_API_V4_URL", "https://gitlab.example/api/v4"),
                    ("CI_PROJECT_ID", "17"),
                    ("CI_DEFAULT_BRANCH", "main"),
                    ("STEAD_COMMENT_TOKEN", "glpat-of-the-test"),
                ]);
                told.extend(match trigger {
                    Trigger::Request | Trigger::Fork => [
                        ("CI_PIPELINE_SOURCE", "merge_request_event"),
                        ("CI_MERGE_REQUEST_IID", "4"),
                    ],
                    Trigger::Merged => {
                        [("CI_PIPELINE_SOURCE", "push"), ("CI_COMMIT_BRANCH", "main")]
                    }
                });
                told
            }
            Self::GitHub => BTreeMap::from([
                (
                    "github.event_name",
                    match trigger {
                        Trigger::Request | Trigger::Fork => "pull_request",
                        Trigger::Merged => "push",
                    },
                ),
                ("github.repository", "example/hosts"),
                (
                    "github.event.pull_request.head.repo.full_name",
                    match trigger {
                        Trigger::Request => "example/hosts",
                        Trigger::Fork => "stranger/hosts",
                        Trigger::Merged => "",
                    },
                ),
                ("github.event.pull_request.number", "4"),
                ("github.token", "ghs-of-the-test"),
            ]),
        }
    }

    /// Returns the jobs that run, in their order.
    fn jobs(self, trigger: Trigger) -> Vec<Job> {
        let document = self.document();
        let told = self.variables(trigger);
        match self {
            Self::GitLab => gitlab_jobs(&document, &told),
            Self::GitHub => github_jobs(&document, &told),
        }
    }
}

fn gitlab_jobs(document: &Value, told: &BTreeMap<&str, &str>) -> Vec<Job> {
    let mut environment = texts(&document["variables"]);
    environment.extend(
        told.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let mut jobs = vec![];
    for stage in document["stages"].as_array().unwrap() {
        for (name, job) in document.as_object().unwrap() {
            if job["stage"] != *stage {
                continue;
            }
            let rules = job["rules"].as_array().unwrap();
            let value = |word: &str| told.get(word.strip_prefix('$')?).copied();
            if !rules
                .iter()
                .any(|rule| is_true(rule["if"].as_str().unwrap(), value))
            {
                continue;
            }
            let lines = job["script"].as_array().unwrap().iter();
            let lines: Vec<_> = lines.map(|line| line.as_str().unwrap()).collect();
            let artifacts = &job["artifacts"];
            if artifacts.is_object() {
                assert_eq!(artifacts["expire_in"], "1 day");
                assert_eq!(artifacts["access"], "developer");
            }
            let paths = artifacts["paths"].as_array().into_iter().flatten();
            let reports = artifacts["reports"]
                .as_object()
                .into_iter()
                .flat_map(|map| map.values());
            let handed = paths
                .chain(reports)
                .map(|path| path.as_str().unwrap().to_owned());
            jobs.push(Job {
                name: name.clone(),
                steps: vec![Step {
                    environment: environment.clone(),
                    script: lines.join("\n"),
                }],
                artifacts: handed.collect(),
            });
        }
    }
    jobs
}

fn github_jobs(document: &Value, told: &BTreeMap<&str, &str>) -> Vec<Job> {
    let mut jobs = vec![];
    for (name, job) in document["jobs"].as_object().unwrap() {
        let value = |word: &str| told.get(word).copied();
        if !is_true(job["if"].as_str().unwrap(), value) {
            continue;
        }
        let (mut steps, mut artifacts) = (vec![], vec![]);
        for step in job["steps"].as_array().unwrap() {
            if let Some(script) = step["run"].as_str() {
                // What somebody else has named must not become a part of a script.
                assert!(!script.contains("${{"), "{script}");
                let mut environment = texts(&document["env"]);
                environment.extend(texts(&step["env"]).into_iter().map(|(name, text)| {
                    let asked = text
                        .strip_prefix("${{ ")
                        .and_then(|text| text.strip_suffix(" }}"));
                    (
                        name,
                        asked.map_or(text.clone(), |word| told[word].to_owned()),
                    )
                }));
                environment.insert(
                    "GITHUB_STEP_SUMMARY".to_owned(),
                    "/run/ci/summary.md".to_owned(),
                );
                steps.push(Step {
                    environment,
                    script: script.to_owned(),
                });
            } else if step["uses"]
                .as_str()
                .unwrap()
                .starts_with("actions/upload-artifact@")
            {
                assert_eq!(step["with"]["retention-days"], 1);
                artifacts.push(step["with"]["path"].as_str().unwrap().to_owned());
            }
        }
        jobs.push(Job {
            name: name.clone(),
            steps,
            artifacts,
        });
    }
    jobs
}

/// Whether a condition of `==` and `&&` holds.
fn is_true<'a>(condition: &'a str, value: impl Fn(&'a str) -> Option<&'a str>) -> bool {
    let side = |word: &'a str| {
        let word = word.trim();
        let written = word.trim_matches(['"', '\'']);
        if written == word {
            value(word)
        } else {
            Some(written)
        }
    };
    condition.split("&&").all(|comparison| {
        let (one, other) = comparison.split_once("==").expect("it compares");
        side(one).is_some() && side(one) == side(other)
    })
}

fn texts(map: &Value) -> BTreeMap<String, String> {
    let map = map.as_object().into_iter().flatten();
    map.map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned()))
        .collect()
}

/// Returns the path of a file of the repository.
fn repository_path(name: &str) -> String {
    format!("{REPOSITORY}/{name}")
}

/// A host with a repository that describes it.
struct CiHost {
    sandbox: Sandbox,
    system: System,
}

impl CiHost {
    /// Sets up a host as the examples say, and a branch `change` that asks for more than `main`.
    fn new(system: System) -> Self {
        let host = Self {
            sandbox: sandbox_with_spec(),
            system,
        };
        let inside = &host.sandbox;
        for name in ["sudo", "curl", "gh", "refuse-body"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci").join(name);
            let place = format!("/run/ci/bin/{name}");
            inside.put(&place, &fs::read_to_string(path).unwrap());
            inside.run_ok(&["chmod", "755", &place]);
        }
        let stead = program("stead");
        inside.run_ok(&["ln", "-s", stead.to_str().unwrap(), "/run/ci/bin/stead"]);
        inside.run_ok(&["mkdir", "-m", "700", PLANS]);
        inside.run_ok(&["mkdir", "-p", REPOSITORY]);
        host.git("init -q -b main");
        inside.put(&repository_path("host.kdl"), "host \"test\" {\n}\n");
        host.commit("nothing is asked for yet");
        host.git("checkout -q -b change");
        inside.put(&repository_path("host.kdl"), SPEC);
        host.run_ok("stead fmt host.kdl");
        host.run_ok("stead test --record here host.kdl");
        host.commit("ask for what the test asks for");
        host
    }

    /// Runs a script in the repository.
    fn run(
        &self,
        shell: &[&str],
        environment: &BTreeMap<String, String>,
        script: &str,
    ) -> CommandOutput {
        let pairs: Vec<_> = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut argv = vec!["env", "-i", "-C", REPOSITORY, "HOME=/run/ci"];
        argv.push("PATH=/run/ci/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        argv.extend(pairs.iter().map(String::as_str));
        argv.extend(shell);
        argv.extend(["-c", script]);
        let mut command = self.sandbox.command(&argv);
        command.stdin(Stdio::null()).output().unwrap().into()
    }

    fn run_ok(&self, script: &str) {
        let said = self.run(&["bash", "-e"], &BTreeMap::new(), script);
        assert_eq!(said.code, Some(0), "{script}: {said:?}");
    }

    fn git(&self, arguments: &str) {
        self.run_ok(&format!(
            "git -c user.name=test -c user.email=test@example.org {arguments}"
        ));
    }

    fn commit(&self, message: &str) {
        self.git("add -A");
        self.git(&format!("commit -q -m '{message}'"));
    }

    /// Runs the jobs of a pipeline up to the first that fails, each in a clean checkout.
    fn pipeline(&self, trigger: Trigger) -> Vec<JobResult> {
        let mut ran = vec![];
        for job in self.system.jobs(trigger) {
            self.git("clean -q -ffdx");
            let mut output = CommandOutput {
                code: None,
                out: String::new(),
                err: String::new(),
            };
            for step in &job.steps {
                output = self.run(self.system.shell(), &step.environment, &step.script);
                if output.code != Some(0) {
                    break;
                }
            }
            let artifacts = job.artifacts.into_iter();
            let artifacts = artifacts.filter_map(|name| {
                let text = self.sandbox.get(&repository_path(&name))?;
                Some((name, text))
            });
            let is_over = output.code != Some(0);
            ran.push(JobResult {
                name: job.name,
                artifacts: artifacts.collect(),
                output,
            });
            if is_over {
                break;
            }
        }
        ran
    }

    /// Runs a pipeline whose jobs must all succeed.
    fn succeed(&self, trigger: Trigger) -> Vec<JobResult> {
        let ran = self.pipeline(trigger);
        for ran in &ran {
            assert_eq!(ran.output.code, Some(0), "{}: {:?}", ran.name, ran.output);
        }
        ran
    }

    fn merge(&self) {
        self.git("checkout -q main");
        self.git("merge -q --no-ff -m merged change");
    }

    fn fingerprint(&self) -> Fingerprint {
        self.sandbox.fingerprint()
    }

    /// Returns the plans that wait.
    fn plans(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.sandbox.outside_path(PLANS)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn merge_applies_the_plan_of_the_request(system: System) {
    let host = CiHost::new(system);
    let start = host.fingerprint();
    let ran = host.succeed(Trigger::Request);
    assert_eq!(difference(&start, &host.fingerprint()), [""; 0]);

    let [plan] = &host.plans()[..] else {
        panic!("{:?}", host.plans());
    };
    let mode = fs::metadata(plan).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let artifacts = &ran.last().unwrap().artifacts;
    let comment = host.sandbox.get("/run/ci/comment.md").unwrap();
    assert_eq!(artifacts["plan.md"], comment);
    let summary = "Plan: 8 to create, 6 to change, 1 to remove.";
    assert!(comment.contains(summary), "{comment}");
    assert!(!comment.contains("a secret"), "{comment}");
    match system {
        System::GitLab => {
            let report = &artifacts["gl-code-quality-report.json"];
            let report: Vec<Value> = serde_json::from_str(report).unwrap();
            assert_eq!(report.len(), 15);
            for entry in &report {
                assert_eq!(entry["location"]["path"], "host.kdl");
            }
        }
        System::GitHub => {
            assert_eq!(host.sandbox.get("/run/ci/summary.md"), Some(comment));
        }
    }

    host.merge();
    let ran = host.succeed(Trigger::Merged);
    assert_eq!(ran.len(), 1);
    assert_eq!(ran[0].name, "apply");
    let again = host.sandbox.stead(&["plan", &repository_path("host.kdl")]);
    assert_eq!(again.code, Some(0), "{again:?}");
}

fn merge_leaves_a_changed_host_alone(system: System) {
    let host = CiHost::new(system);
    host.succeed(Trigger::Request);
    host.merge();
    host.sandbox.put("/srv/old", "somebody else\n");
    let start = host.fingerprint();
    let ran = host.pipeline(Trigger::Merged);
    let said = &ran.last().unwrap().output;
    assert_eq!(said.code, Some(5), "{said:?}");
    assert!(said.out.contains("The plan is stale"), "{said:?}");
    assert!(said.err.contains("file:/srv/old"), "{said:?}");
    assert_eq!(difference(&start, &host.fingerprint()), [""; 0]);
}

fn merge_of_an_unplanned_tree_is_not_applied(system: System) {
    let host = CiHost::new(system);
    host.succeed(Trigger::Request);
    host.git("checkout -q main");
    host.sandbox.put(&repository_path("other"), "came first\n");
    host.commit("something else");
    host.merge();
    let start = host.fingerprint();
    let ran = host.pipeline(Trigger::Merged);
    let said = &ran.last().unwrap().output;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.out.contains("no plan for this tree"), "{said:?}");
    assert_eq!(difference(&start, &host.fingerprint()), [""; 0]);
}

fn request_failing_a_check_is_not_planned(system: System) {
    for spoil in [
        "sed -i 's/sysctl/sysctrl/' host.kdl",
        "sed -i 's/^    symlink/  symlink/' host.kdl",
        "sed -i 's/0750/0755/' host.kdl",
    ] {
        let host = CiHost::new(system);
        host.run_ok(spoil);
        host.commit("a slip");
        let ran = host.pipeline(Trigger::Request);
        assert_eq!(ran.len(), 1, "{spoil}");
        assert!(matches!(ran[0].output.code, Some(2 | 3)), "{spoil}");
        assert_eq!(host.plans(), [""; 0].map(PathBuf::from), "{spoil}");
        assert_eq!(host.sandbox.get("/run/ci/comment.md"), None, "{spoil}");
    }
}

fn failing_plan_posts_no_comment(system: System) {
    let host = CiHost::new(system);
    host.sandbox.run_ok(&["rm", "/etc/stead/secret"]);
    let ran = host.pipeline(Trigger::Request);
    let said = &ran.last().unwrap().output;
    assert!(!matches!(said.code, Some(0 | 3)), "{said:?}");
    assert_eq!(host.sandbox.get("/run/ci/comment.md"), None);
}

fn request_without_changes_comments_so(system: System) {
    let host = CiHost::new(system);
    host.succeed(Trigger::Request);
    host.merge();
    host.succeed(Trigger::Merged);
    host.git("checkout -q change");
    host.succeed(Trigger::Request);
    let comment = host.sandbox.get("/run/ci/comment.md").unwrap();
    assert!(comment.contains("No changes."), "{comment}");
}

macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod gitlab {
            $(#[test] fn $test() { super::$test(super::System::GitLab); })*
        }
        mod github {
            $(#[test] fn $test() { super::$test(super::System::GitHub); })*
        }
    };
}

on_both!(
    merge_applies_the_plan_of_the_request,
    merge_leaves_a_changed_host_alone,
    merge_of_an_unplanned_tree_is_not_applied,
    request_failing_a_check_is_not_planned,
    failing_plan_posts_no_comment,
    request_without_changes_comments_so,
);

#[test]
fn fork_runs_no_job_on_the_host() {
    let jobs = System::GitHub.jobs(Trigger::Fork);
    assert!(jobs.is_empty(), "{jobs:?}");
}

#[test]
fn ci_jobs_run_only_on_the_host() {
    let gitlab = System::GitLab.document();
    assert_eq!(gitlab["default"]["tags"][0], "the-host");
    let github = System::GitHub.document();
    for (name, job) in github["jobs"].as_object().unwrap() {
        assert_eq!(job["runs-on"][1], "the-host", "{name}");
    }
}
