//! Acceptances: `--accept KIND:CLUSTER/GUEST[/DEVICE]`, exact, without wildcards.

use std::fmt;
use std::str::FromStr;

/// What is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AcceptanceKind {
    /// Destroying a guest.
    Delete,
    /// Detaching a drive.
    Detach,
    /// Taking over a guest that is not ours.
    Adopt,
    /// Rebooting a guest beyond the guards.
    Reboot,
    /// Destroying a detached volume.
    Destroy,
    /// Deleting a guest and making it anew.
    Recreate,
    /// Deleting every guest of a fleet whose manifest has none.
    Empty,
    /// Stopping a guest hard, where a shutdown would not end.
    Stop,
}

impl AcceptanceKind {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Delete, Self::Destroy, Self::Detach, Self::Recreate, Self::Reboot, Self::Stop, Self::Adopt, Self::Empty];

    /// True where it names a device of the guest.
    pub const fn has_device(self) -> bool {
        matches!(self, Self::Detach | Self::Destroy)
    }

    /// Its word on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Detach => "detach",
            Self::Adopt => "adopt",
            Self::Reboot => "reboot",
            Self::Destroy => "destroy",
            Self::Recreate => "recreate",
            Self::Stop => "stop",
            Self::Empty => "empty",
        }
    }
}

/// One acceptance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acceptance {
    /// What is accepted.
    pub kind: AcceptanceKind,
    /// In which cluster; of [`AcceptanceKind::Empty`], the fleet.
    pub cluster: String,
    /// For which guest: its name in the manifest, or its vmid; empty where it is a whole fleet.
    pub guest: String,
    /// For which device, where the kind has one.
    pub device: Option<String>,
}

impl FromStr for Acceptance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "an acceptance is KIND:CLUSTER/GUEST, detach:CLUSTER/GUEST/DRIVE or destroy:CLUSTER/GUEST/unusedN";
        let (kind, rest) = text.split_once(':').ok_or_else(|| form.to_owned())?;
        let kind = AcceptanceKind::ALL.into_iter().find(|known| known.word() == kind).ok_or_else(|| {
            let known: Vec<&str> = AcceptanceKind::ALL.iter().map(|kind| kind.word()).collect();
            format!("`{kind}` cannot be accepted; {} can", known.join(", "))
        })?;
        if kind == AcceptanceKind::Empty {
            let is_name = !rest.is_empty() && !rest.contains(['/', '*']);
            let accepted = Self { kind, cluster: rest.to_owned(), guest: String::new(), device: None };
            return is_name.then_some(accepted).ok_or_else(|| "empty needs the fleet: empty:FLEET".to_owned());
        }
        let parts: Vec<&str> = rest.split('/').collect();
        let (cluster, guest, device) = match (kind, parts.as_slice()) {
            (kind, [cluster, guest, device]) if kind.has_device() => (cluster, guest, Some((*device).to_owned())),
            (AcceptanceKind::Detach, _) => return Err("detach needs the drive: detach:CLUSTER/GUEST/scsi1".to_owned()),
            (AcceptanceKind::Destroy, _) => {
                return Err("destroy needs the volume: destroy:CLUSTER/GUEST/unused0".to_owned());
            }
            (_, [cluster, guest]) => (cluster, guest, None),
            _ => return Err(form.to_owned()),
        };
        if [cluster, guest].iter().any(|part| part.is_empty() || part.contains('*')) {
            return Err(format!("{form}; there are no wildcards"));
        }
        Ok(Self { kind, cluster: (*cluster).to_owned(), guest: (*guest).to_owned(), device })
    }
}

impl fmt::Display for Acceptance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.word(), self.cluster)?;
        if !self.guest.is_empty() {
            write!(f, "/{}", self.guest)?;
        }
        self.device.iter().try_for_each(|device| write!(f, "/{device}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acceptances_are_exact() {
        let accepted: Acceptance = "detach:production/prod-db-01/scsi1".parse().unwrap();
        assert_eq!(accepted.device.as_deref(), Some("scsi1"));
        assert_eq!(accepted.to_string(), "detach:production/prod-db-01/scsi1");
        assert_eq!("empty:homelab".parse::<Acceptance>().unwrap().to_string(), "empty:homelab");
        for bad in [
            "empty:",
            "empty:a/b",
            "",
            "delete",
            "delete:x",
            "delete:a/*",
            "burn:a/b",
            "detach:a/b",
            "delete:a/b/c",
            "delete:/b",
        ] {
            assert!(bad.parse::<Acceptance>().is_err(), "{bad}");
        }
    }
}
