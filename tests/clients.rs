//! Clients that nobody here wrote, against the simulator: proxmoxer, installed from PyPI into a folder of its own.
//!
//! Where PyPI, or Python, is not there, the test says so and is skipped. Ansible has its own command, because it takes
//! minutes to install: `bash tests/clients/ansible.sh`.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// What is installed, as its authors published it.
const PACKAGES: [&str; 2] = ["proxmoxer==2.3.0", "requests==2.32.5"];

fn run(command: &mut Command) -> Result<String, String> {
    let told = |output: &Output| {
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    match command.output() {
        Ok(output) if output.status.success() => Ok(told(&output)),
        Ok(output) => Err(told(&output)),
        Err(error) => Err(error.to_string()),
    }
}

/// The Python that has proxmoxer, made once beside the build; why there is none.
fn python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-venv");
    let python = folder.join("bin/python");
    let has = || run(Command::new(&python).args(["-c", "import proxmoxer, requests"]));
    if has().is_ok() {
        return Ok(python);
    }
    run(Command::new("python3").arg("-m").arg("venv").arg(&folder)).map_err(|text| format!("no Python: {text}"))?;
    let install =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "10"];
    run(Command::new(&python).args(install).args(PACKAGES))
        .map_err(|text| format!("PyPI cannot be reached: {text}"))?;
    has().map(|_| python.clone())
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn tell(python: &Path, login: &[&str], world: Option<&Path>) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvefleet"));
    command.args(["sim", "--json", "--time-scale", "0.2", "--access-log", "log"]);
    match world {
        Some(world) => command.arg("--world").arg(world),
        None => command.args(["--clusters", "production"]),
    };
    command.current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready = folder.path().join("ready.json");
    std::fs::write(&ready, line).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/proxmoxer_story.py");
    let told = run(Command::new(python).arg(script).arg(&ready).args(login));
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    assert!(told.as_ref().is_ok_and(|text| text.contains("the story is told")), "{told:?}\n{log}");
    assert!(!log.contains("not implemented here"), "{log}");
}

#[test]
fn proxmoxer_tells_a_guests_life_by_token() {
    match python() {
        Ok(python) => tell(&python, &["token"], None),
        Err(why) => println!("skipped: {why}"),
    }
}

#[test]
fn proxmoxer_tells_a_guests_life_by_password() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let world = folder.path().join("world.yaml");
    let text =
        run(Command::new(env!("CARGO_BIN_EXE_pvefleet")).args(["sim", "--print-world", "--clusters", "production"]));
    let users = "    users:\n      - { id: admin@pve, password: correct-horse }\n    acl:\n      - { path: /, role: Administrator, to: admin@pve }\n";
    std::fs::write(&world, text.unwrap() + users).unwrap();
    tell(&python, &["password", "admin@pve", "correct-horse"], Some(&world));
}
