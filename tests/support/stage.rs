//! The program in a folder of its own, with simulated clusters to ask.

#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses its own part of it")]

use std::process::Command;

use pvefleet::sim::server::{Options, Running, Server};
use pvefleet::sim::{Cluster, world};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A folder with settings for simulated clusters that are served over HTTPS.
pub struct Stage {
    pub folder: TempDir,
    running: Option<Running>,
    runtime: Runtime,
    secret: String,
}

impl Stage {
    /// Two clusters that are there, and one that is not.
    pub fn new(manifest: &str) -> Self {
        let stage = Self::of(&["production", "staging"], &["gone"]);
        std::fs::write(stage.folder.path().join("fleet.yaml"), manifest).unwrap();
        stage
    }

    /// Clusters that are served, and others that are configured and not there.
    pub fn of(served: &[&str], missing: &[&str]) -> Self {
        let runtime = Runtime::new().unwrap();
        let clusters = served.iter().map(|name| ((*name).to_owned(), Cluster::new(world::builtin(name), 1))).collect();
        let running = runtime.block_on(Server::start(clusters, Options::default())).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<&str> = served.iter().chain(missing).copied().collect();
        let mut env = format!("PROXMOX_CLUSTERS={}\n", names.join(","));
        if served.len() > 2 {
            env.push_str("PROXMOX_CLUSTER_PATTERNS=prod-:production,stg-:staging,dr-:disaster-recovery\n");
        }
        let token = running.endpoints()[0].clone();
        for name in names {
            let found = running.endpoints().iter().find(|endpoint| endpoint.name == name);
            let url = found.map_or("https://127.0.0.1:9", |endpoint| endpoint.url.as_str());
            env.push_str(&format!(
                "PROXMOX_CLUSTER_{name}_API_URL={url}\nPROXMOX_CLUSTER_{name}_TOKEN_ID={}\n\
                 PROXMOX_CLUSTER_{name}_TOKEN_SECRET={}\nPROXMOX_CLUSTER_{name}_CA_FILE=ca.pem\n",
                token.token_id, token.token_secret
            ));
        }
        std::fs::write(folder.path().join("ca.pem"), &token.ca_pem).unwrap();
        std::fs::write(folder.path().join("my.env"), env).unwrap();
        Self { folder, running: Some(running), runtime, secret: token.token_secret }
    }

    /// The methods of all requests so far.
    pub fn methods(&self) -> Vec<String> {
        let running = self.running.iter();
        let names = |running: &Running| -> Vec<String> {
            running.endpoints().iter().map(|endpoint| endpoint.name.clone()).collect()
        };
        running
            .flat_map(|running| names(running).into_iter().flat_map(|name| running.access_log(&name)))
            .map(|entry| entry.method)
            .collect()
    }

    /// Exit code, standard output, standard error.
    pub fn run(&self, arguments: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvefleet"));
        command.args(["--env-file", "my.env"]).args(arguments.split_whitespace()).current_dir(self.folder.path());
        command.env_clear().env("HOME", self.folder.path()).env("PATH", "/usr/bin:/bin");
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(!out.contains(&self.secret) && !err.contains(&self.secret), "{arguments}: {out}{err}");
        (output.status.code().unwrap_or(-1), out, err)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }
}
