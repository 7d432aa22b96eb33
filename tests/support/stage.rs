//! The program in a folder of its own, with simulated clusters to ask.

#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses its own part of it")]

use std::path::PathBuf;
use std::process::Command;

use pvefleet::sim::server::{Options, Running, Server};
use pvefleet::sim::transport::SharedCluster;
use pvefleet::sim::{Cluster, world};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A folder whose `.env` leads to simulated clusters that are served over HTTPS.
pub struct Stage {
    pub folder: TempDir,
    pub running: Option<Running>,
    /// The settings as they were written.
    pub env: String,
    runtime: Runtime,
    secret: String,
}

impl Stage {
    /// Two clusters that are there, and one that is not.
    pub fn new(manifest: &str) -> Self {
        let stage = Self::of(&["production", "staging"], &["gone"]);
        stage.write("fleet.yaml", manifest);
        stage
    }

    /// Clusters that are served, and others that are configured and not there: nothing listens on their port.
    pub fn of(served: &[&str], missing: &[&str]) -> Self {
        let runtime = Runtime::new().unwrap();
        let clusters = served.iter().map(|name| ((*name).to_owned(), Cluster::new(world::builtin(name), 1))).collect();
        let running = runtime.block_on(Server::start(clusters, Options::default())).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<&str> = served.iter().chain(missing).copied().collect();
        let rules = [("prod-", "production"), ("stg-", "staging"), ("dr-", "disaster-recovery")];
        let rules = rules.iter().filter(|(_, cluster)| names.contains(cluster));
        let rules: Vec<String> = rules.map(|(prefix, cluster)| format!("{prefix}:{cluster}")).collect();
        let mut env = format!("PROXMOX_CLUSTERS={}\nPROXMOX_CLUSTER_PATTERNS={}\n", names.join(","), rules.join(","));
        let token = running.endpoints()[0].clone();
        let ca = folder.path().join("ca.pem");
        for name in names {
            let found = running.endpoints().iter().find(|endpoint| endpoint.name == name);
            let url = found.map_or("https://127.0.0.1:9", |endpoint| endpoint.url.as_str());
            env.push_str(&format!(
                "PROXMOX_CLUSTER_{name}_API_URL={url}\nPROXMOX_CLUSTER_{name}_TOKEN_ID={}\n\
                 PROXMOX_CLUSTER_{name}_TOKEN_SECRET={}\nPROXMOX_CLUSTER_{name}_CA_FILE={}\n",
                token.token_id,
                token.token_secret,
                ca.display()
            ));
        }
        std::fs::write(&ca, &token.ca_pem).unwrap();
        let stage = Self { folder, running: Some(running), env, runtime, secret: token.token_secret };
        stage.write(".env", &stage.env);
        stage
    }

    /// Writes a file of the folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Adds lines to the settings.
    pub fn set(&self, lines: &str) {
        self.write(".env", &format!("{}{lines}", self.env));
    }

    /// One of the clusters that are served.
    pub fn cluster(&self, name: &str) -> SharedCluster {
        self.running.as_ref().unwrap().cluster(name).unwrap()
    }

    /// The methods of all requests so far, cluster by cluster.
    pub fn methods(&self) -> Vec<String> {
        let running = self.running.as_ref().unwrap();
        let logs = running.endpoints().iter().flat_map(|endpoint| running.access_log(&endpoint.name));
        logs.map(|entry| entry.method).collect()
    }

    /// The program with these arguments, in the folder and with nothing of this process's environment.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvefleet"));
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        command.env_clear().env("HOME", self.folder.path()).env("PATH", "/usr/bin:/bin");
        command
    }

    /// Exit code, standard output, standard error; the token's secret is in neither.
    pub fn run(&self, arguments: &str) -> (i32, String, String) {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(!out.contains(&self.secret) && !err.contains(&self.secret), "{arguments}: {out}{err}");
        (output.status.code().unwrap_or(-1), out, err)
    }

    /// Exit code, and everything that was printed.
    pub fn told(&self, arguments: &str) -> (i32, String) {
        let (code, out, err) = self.run(arguments);
        (code, out + &err)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }
}
