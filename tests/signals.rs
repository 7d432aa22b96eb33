//! The real program over HTTPS when somebody stops it, does not listen to it, or is not there.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/stage.rs"]
mod stage;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use pvefleet::pve::value::Vmid;
use pvefleet::sim::transport::lock;
use stage::Stage;

const MANIFEST: &str = "fleet: t
clusters:
  production:
    vmids: 1000-1999
    vms:
      - {name: prod-a, clone: {from: debian-12}, memory: 1024, state: running}
      - {name: prod-b, clone: {from: debian-12}, memory: 1024, state: running}
";

/// The program while it runs.
struct Run<'a> {
    stage: &'a Stage,
    child: Child,
    err: BufReader<ChildStderr>,
    told: String,
}

impl<'a> Run<'a> {
    fn start(stage: &'a Stage, arguments: &str) -> Self {
        let mut command = stage.command(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let err = BufReader::new(child.stderr.take().unwrap());
        Self { stage, child, err, told: String::new() }
    }

    /// Reads what it says until these words come.
    fn says(&mut self, words: &str) {
        loop {
            let mut line = String::new();
            assert!(self.err.read_line(&mut line).unwrap() > 0, "it ended without `{words}`:\n{}", self.told);
            self.told.push_str(&line);
            if line.contains(words) {
                return;
            }
        }
    }

    /// Waits until this guest is being cloned.
    fn clones(&mut self, vmid: u32) {
        let cluster = self.stage.cluster("production");
        let is_cloned = || {
            let cluster = lock(&cluster);
            let file = cluster.guest_file(Vmid::new(vmid).unwrap());
            file.is_some_and(|(_, _, text)| text.contains("lock: clone"))
        };
        while !is_cloned() {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {}", self.told);
            std::thread::yield_now();
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Its exit code, its standard output, and all that it said.
    fn ends(mut self) -> (i32, String, String) {
        self.err.read_to_string(&mut self.told).unwrap();
        let mut out = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut out).unwrap();
        }
        (self.child.wait().unwrap().code().unwrap_or(-1), out, self.told)
    }
}

/// A cluster on which clones take minutes, unless its time is moved.
fn slow() -> Stage {
    let stage = Stage::of(&["production"], &[]);
    lock(&stage.cluster("production")).set_service(|spec| spec.time_scale = 1000.0);
    stage.write("fleet.yaml", MANIFEST);
    stage
}

/// Lets everything end that runs, and be quick from now on.
fn hurry(stage: &Stage) {
    let cluster = stage.cluster("production");
    let mut cluster = lock(&cluster);
    cluster.set_service(|spec| spec.time_scale = 1.0);
    cluster.end_tasks();
}

/// The ids and names of all guests of the fleet.
fn fleet(stage: &Stage) -> Vec<(u32, String)> {
    let cluster = stage.cluster("production");
    let cluster = lock(&cluster);
    let ids: Vec<Vmid> = cluster.guest_ids().filter(|id| (1000..2000).contains(&id.get())).collect();
    let name = |id: Vmid| {
        let file = cluster.guest_file(id).unwrap().2;
        file.lines().find_map(|line| line.strip_prefix("name: ")).unwrap_or_default().to_owned()
    };
    ids.into_iter().map(|id| (id.get(), name(id))).collect()
}

fn both() -> Vec<(u32, String)> {
    vec![(1000, "prod-a".to_owned()), (1001, "prod-b".to_owned())]
}

/// Applies once more, and asserts that there is what there should be, once.
fn goes_on(stage: &Stage) {
    let (code, out, err) = stage.run("apply fleet.yaml --auto-approve");
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(fleet(stage), both());
    let (code, text) = stage.told("plan fleet.yaml --detailed-exitcode");
    assert_eq!(code, 0, "{text}");
    let log = stage.running.as_ref().unwrap().access_log("production");
    assert_eq!(log.iter().filter(|entry| entry.path.ends_with("/clone")).count(), 2, "each is cloned once");
}

/// Writes so far.
fn writes(stage: &Stage) -> usize {
    stage.methods().iter().filter(|method| *method != "GET").count()
}

const APPLY: &str = "apply fleet.yaml --auto-approve --parallel 1";

#[test]
fn told_once_it_waits_for_what_runs_and_reports() {
    for signal in ["-INT", "-TERM"] {
        let stage = slow();
        let mut run = Run::start(&stage, APPLY);
        run.clones(1000);
        run.signal(signal);
        run.says("stopping: nothing new is sent, what runs is waited for");
        hurry(&stage);
        let (code, out, err) = run.ends();
        assert_eq!(code, 5, "{signal}: {out}{err}");
        assert_eq!(writes(&stage), 1, "the clone, and nothing after it");
        for line in ["interrupted", "production/prod-a", "production/prod-b", "pvefleet apply fleet.yaml"] {
            assert!(out.contains(line), "{line}: {out}");
        }
        assert_eq!(fleet(&stage), both()[..1], "it is whole");
        goes_on(&stage);
    }
}

#[test]
fn told_twice_it_leaves_at_once_and_names_what_runs() {
    let stage = slow();
    let mut run = Run::start(&stage, APPLY);
    run.clones(1000);
    run.signal("-INT");
    run.says("once more to leave at once");
    run.signal("-INT");
    run.says("leaving at once; the tasks that run go on in Proxmox");
    let (code, out, err) = run.ends();
    assert_eq!(code, 5, "{out}{err}");
    let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("task UPID:pve1:") && words.contains(":qmclone:9001:"), "{out}");
    assert!(words.contains("may still run"), "{out}");
    assert!(lock(&stage.cluster("production")).is_busy(), "it goes on");
    joins(&stage);
}

/// The next run waits for the clone that the last one left.
fn joins(stage: &Stage) {
    let mut run = Run::start(stage, "apply fleet.yaml --auto-approve");
    run.says("waiting for what an earlier run, or somebody else, began: qmclone 9001");
    hurry(stage);
    let (code, out, err) = run.ends();
    assert_eq!(code, 0, "{out}{err}");
    goes_on(stage);
}

#[test]
fn killed_in_a_clone_it_is_joined_by_the_next_run() {
    let stage = slow();
    let mut run = Run::start(&stage, APPLY);
    run.clones(1000);
    run.child.kill().unwrap();
    assert_eq!(run.ends().0, -1);
    joins(&stage);
}

#[test]
fn nobody_reads_what_it_says_and_it_does_its_work_all_the_same() {
    let quick = || {
        let stage = Stage::of(&["production"], &[]);
        stage.write("fleet.yaml", MANIFEST);
        stage
    };
    // `apply -o ndjson | head -1`, and with nobody at either end from the beginning.
    let stage = quick();
    let mut run = Run::start(&stage, "apply fleet.yaml --auto-approve -o ndjson");
    let mut out = BufReader::new(run.child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with('{'), "{line}");
    drop(out);
    let (code, _, err) = run.ends();
    assert_eq!(code, 0, "{err}");
    assert!(!err.contains("panicked"), "{err}");
    assert_eq!(fleet(&stage), both());
    goes_on(&stage);

    let stage = quick();
    let mut run = Run::start(&stage, "apply fleet.yaml --auto-approve");
    drop(run.child.stdout.take());
    drop(std::mem::replace(&mut run.err, BufReader::new(run_nothing())));
    assert_eq!(run.child.wait().unwrap().code(), Some(0));
    goes_on(&stage);

    // What went wrong is in the exit code, whoever reads.
    let stage = quick();
    let refused =
        pvefleet::sim::FaultKind::Status { code: 500, text: "no".to_owned(), effect: pvefleet::sim::Effect::None };
    lock(&stage.cluster("production")).inject(pvefleet::sim::Fault::new("POST", "*/clone", refused));
    let mut run = Run::start(&stage, "apply fleet.yaml --auto-approve");
    drop(run.child.stdout.take());
    let (code, _, err) = run.ends();
    assert_eq!(code, 5, "{err}");
}

/// The standard error of a program that says nothing.
fn run_nothing() -> ChildStderr {
    let mut child = Command::new("true").stderr(Stdio::piped()).spawn().unwrap();
    child.wait().unwrap();
    child.stderr.take().unwrap()
}

#[test]
fn without_a_terminal_nothing_is_sent_unless_approved() {
    let stage = Stage::of(&["production"], &[]);
    stage.write("fleet.yaml", MANIFEST);
    let (code, out, err) = Run::start(&stage, "apply fleet.yaml").ends();
    assert_eq!((code, out.as_str()), (64, ""), "{err}");
    assert!(err.contains("there is no terminal to ask on; approve with --auto-approve or --plan-id"), "{err}");
    assert_eq!(writes(&stage), 0);
    // A `yes` that comes through a pipe is nobody's word.
    let mut child = stage.command("apply fleet.yaml");
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    drop(std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"yes\n"));
    assert_eq!(child.wait().unwrap().code(), Some(64));
    assert_eq!(writes(&stage), 0);
    assert_eq!(stage.run("plan fleet.yaml -o json=plan.json").0, 0);
    let (code, out, err) = Run::start(&stage, "apply --plan plan.json").ends();
    assert_eq!(code, 0, "a saved plan is the approval: {out}{err}");
    goes_on(&stage);
}
