//! Where documents go: `-o FORMAT[=FILE]`, standard output, files written whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// The formats that a document can have, by name.
pub trait Formats: Copy + Send + Sync + 'static {
    /// All of them.
    const ALL: &'static [(&'static str, Self)];
}

/// A format of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Formats for Format {
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// A format of what an apply came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// A line of JSON for each event; on standard output as they happen.
    Ndjson,
}

impl Formats for OutcomeFormat {
    const ALL: &'static [(&'static str, Self)] =
        &[("text", Self::Text), ("json", Self::Json), ("ndjson", Self::Ndjson)];
}

/// A format of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanFormat {
    /// For people.
    Text,
    /// A unified diff, guest by guest.
    Diff,
    /// For the comment of a merge request.
    Markdown,
    /// The document, for programs and for `apply --plan`.
    Json,
    /// Annotations of a GitHub workflow.
    Github,
}

impl Formats for PlanFormat {
    const ALL: &'static [(&'static str, Self)] = &[
        ("text", Self::Text),
        ("diff", Self::Diff),
        ("markdown", Self::Markdown),
        ("json", Self::Json),
        ("github", Self::Github),
    ];
}

/// A format of the problems of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingsFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// Annotations of a GitHub workflow.
    Github,
    /// For code scanning, SARIF 2.1.0.
    Sarif,
}

impl Formats for FindingsFormat {
    const ALL: &'static [(&'static str, Self)] =
        &[("text", Self::Text), ("json", Self::Json), ("github", Self::Github), ("sarif", Self::Sarif)];
}

/// A format of a resolved manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestFormat {
    /// As a manifest is written.
    Yaml,
    /// For programs.
    Json,
}

impl Formats for ManifestFormat {
    const ALL: &'static [(&'static str, Self)] = &[("yaml", Self::Yaml), ("json", Self::Json)];
}

/// One `-o`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output<F = Format> {
    /// The format.
    pub format: F,
    /// The file; nothing means standard output.
    pub file: Option<PathBuf>,
}

impl<F: Formats> FromStr for Output<F> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (format, file) = match text.split_once('=') {
            Some((_, "")) => return Err("a file name must follow the `=`".to_owned()),
            Some((format, file)) => (format, Some(PathBuf::from(file))),
            None => (text, None),
        };
        let Some((_, format)) = F::ALL.iter().find(|(name, _)| *name == format) else {
            let names: Vec<&str> = F::ALL.iter().map(|(name, _)| *name).collect();
            let (last, others) = names.split_last().unwrap_or((&"", &[]));
            return Err(format!("`{format}` is no format; {} and {last} are", others.join(", ")));
        };
        Ok(Self { format: *format, file })
    }
}

/// Refuses two documents on standard output.
///
/// # Errors
///
/// When more than one output names no file.
pub fn check<F>(outputs: &[Output<F>]) -> Result<()> {
    let mut files: Vec<_> = outputs.iter().filter_map(|output| output.file.as_ref()).collect();
    files.sort();
    if let Some(twice) = files.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("two --output name the file {}", twice[0].display());
    }
    if outputs.iter().filter(|output| output.file.is_none()).count() > 1 {
        bail!("only one --output may go to standard output; give the others a file: -o json=FILE");
    }
    Ok(())
}

/// Makes sure that the files can be written, before something happens whose result they shall hold.
///
/// # Errors
///
/// The first file that cannot be written.
pub fn probe<F>(outputs: &[Output<F>]) -> Result<()> {
    for path in outputs.iter().filter_map(|output| output.file.as_ref()) {
        let beside = beside(path).with_context(|| format!("cannot write {}", path.display()))?;
        let made = private_file(&beside).map(drop);
        made.and_then(|()| fs::remove_file(&beside)).with_context(|| format!("cannot write {}", path.display()))?;
        if path.is_dir() {
            bail!("cannot write {}: it is a folder", path.display());
        }
    }
    Ok(())
}

/// Where a file is written before it takes its place.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(name))
}

/// Writes a document to every output.
///
/// # Errors
///
/// A file that cannot be written. A reader that went away is no error.
pub fn write<F: Copy>(outputs: &[Output<F>], mut render: impl FnMut(F, bool) -> Result<String>) -> Result<()> {
    for output in outputs {
        let mut text = render(output.format, output.file.is_none())?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        match &output.file {
            Some(path) => write_whole(path, &text).with_context(|| format!("cannot write {}", path.display()))?,
            None => stdout(&text)?,
        }
    }
    Ok(())
}

/// Writes to standard output; a broken pipe is not an error.
///
/// # Errors
///
/// Any other failure.
pub fn stdout(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Writes a file whole or not at all, for its owner alone: beside it first, then in its place.
///
/// # Errors
///
/// When the folder or the file cannot be written.
pub fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let beside = beside(path)?;
    let written = private_file(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let placed = written.and_then(|()| fs::rename(&beside, path));
    if placed.is_err() {
        // The half-written file is worth nothing; that it cannot be removed would hide the real error.
        drop(fs::remove_file(&beside));
    }
    placed
}

/// A file to append to, that only its owner can read where it is made.
///
/// # Errors
///
/// When it cannot be opened.
pub fn append_private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

/// A new file that only its owner can read.
///
/// # Errors
///
/// When it cannot be made, or is there already.
pub fn private_file(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}
