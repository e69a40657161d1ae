//! Reading a configuration: files, includes, expansion, checks, in that order.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    path::{Component, Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use gatepost_policy::Pattern;

use crate::{
    Config, Problem, Problems,
    check::{self, folder_of},
    expand::{Environment, expand},
    file::Root,
    problem::Place,
    reader::{Findings, Setting},
    tree::{Entry, Node, Value, parse},
    values::IncludePattern,
};

/// The largest configuration file, in bytes.
const LARGEST_FILE: u64 = 4 << 20;

/// The most files that `include` may bring in.
const MOST_FILES: usize = 1_000;

/// What the gate does with no configuration at all.
const ZERO: &str = "
servers:
  files: { module: files, options: { root: ., access: read } }
  calculator: { module: calculator }
  notes: { module: notes }
";

impl Config {
    /// Reads the configuration in the file at `path`, with everything it includes.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        Self::load_with(path, &|name| std::env::var_os(name))
    }

    /// [`Config::load`] with another environment than the process's own.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load_with(path: &Path, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, Problems> {
        let root = read_file(path).map_err(|problem| Problems(vec![*problem]))?;
        finish(root, folder_of(path), environment)
    }

    /// Reads a configuration from `text`, as if it stood in a file in `folder`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse_in(
        folder: &Path,
        text: &str,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Problems> {
        let mut root = parse(text, None).map_err(|problem| Problems(vec![*problem]))?;
        // Relative paths find their folder through the file of their place.
        let file = Arc::new(folder.join("gatepost.yaml"));
        settle(&mut root, &file);
        let hide = |problem: &mut Problem| problem.file = problem.file.take().filter(|given| *given != *file);
        match finish(root, folder.to_path_buf(), environment) {
            Ok(mut config) => {
                config.warnings.iter_mut().for_each(hide);
                Ok(config)
            }
            Err(mut problems) => {
                problems.0.iter_mut().for_each(hide);
                Err(problems)
            }
        }
    }

    /// The configuration that needs none: a read-only `files` module over `folder`, a calculator and notes.
    ///
    /// # Errors
    /// When there is no place for the data directory: neither `XDG_STATE_HOME` nor `HOME` is set.
    pub fn zero(folder: &Path) -> Result<Self, Problems> {
        Self::parse_in(folder, ZERO, &|name| std::env::var_os(name))
    }
}

/// Reads a configuration from a text, with the process's environment and folder.
impl FromStr for Config {
    type Err = Problems;

    fn from_str(text: &str) -> Result<Self, Problems> {
        Self::parse_in(Path::new("."), text, &|name| std::env::var_os(name))
    }
}

/// Gives every place below `node` its file.
fn settle(node: &mut Node, file: &Arc<PathBuf>) {
    node.place.file = Some(Arc::clone(file));
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| settle(item, file)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.place.file = Some(Arc::clone(file));
            settle(&mut entry.node, file);
        }),
        _ => {}
    }
}

fn read_file(path: &Path) -> Result<Node, Box<Problem>> {
    let file = Arc::new(path.to_path_buf());
    let place = Place {
        file: Some(Arc::clone(&file)),
        line: 0,
    };
    let wrong = |message: String, remedy: &str| {
        Box::new(Problem::new(&place, String::new(), message, remedy.to_owned()))
    };
    let unreadable = |error: std::io::Error| {
        wrong(
            format!("cannot be read: {error}"),
            "check the path and the permissions",
        )
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(wrong(
            "is larger than 4 MiB".to_owned(),
            "check whether it is the right file",
        ));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8".to_owned(), "save it as UTF-8 text"))?;
    parse(&text, Some(file))
}

/// What remains when the root file has been parsed.
fn finish(mut root: Node, folder: PathBuf, environment: Environment<'_>) -> Result<Config, Problems> {
    let mut findings = Findings::default();
    name_servers(&mut root, &mut findings);
    expand(&mut root, "", environment, &mut findings);
    include(&mut root, environment, &mut findings);
    let form = Root::read(&root, "", &mut findings);
    let config = form.and_then(|form| check::config(form, folder, environment, &mut findings));
    match config {
        Some(mut config) if findings.problems.is_empty() => {
            config.warnings = findings.warnings;
            Ok(config)
        }
        _ => Err(Problems(in_order(findings.problems))),
    }
}

/// In the order of the files, and in each in the order of the lines, so that a reader goes through once.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    let files: Vec<Option<PathBuf>> = problems.iter().map(|problem| problem.file.clone()).collect();
    problems.sort_by_key(|problem| {
        (
            files.iter().position(|file| *file == problem.file),
            problem.line.unwrap_or(u32::MAX),
        )
    });
    problems
}

/// Gives `mcpServers` its other name, `servers`.
fn name_servers(root: &mut Node, findings: &mut Findings) {
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    let both = entries.iter().any(|entry| entry.key == "servers");
    for entry in entries.iter_mut().filter(|entry| entry.key == "mcpServers") {
        if both {
            let message = "means the same as `servers`, which is there too";
            findings.problem(
                &entry.place,
                "mcpServers",
                message,
                "move its servers to `servers`",
            );
        }
        entry.key = "servers".to_owned();
    }
}

/// Merges the files that `include` names into the root.
fn include(root: &mut Node, environment: Environment<'_>, findings: &mut Findings) {
    // What is wrong with the rest is found when the whole has been merged.
    let Some(form) = Root::read(root, "", &mut Findings::default()) else {
        return;
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for (at, IncludePattern { pattern, place }) in form.include.iter().enumerate() {
        let path = format!("include[{at}]");
        match matching_files(pattern) {
            Ok(found) if found.is_empty() => {
                findings.warning(place, &path, "matches no file", "check the pattern");
            }
            Ok(found) => {
                for file in found {
                    if !files.contains(&file) {
                        files.push(file);
                    }
                }
            }
            Err(message) => findings.problem(place, &path, message, "check the path"),
        }
        if files.len() > MOST_FILES {
            let message = format!("brings in more than {MOST_FILES} files");
            findings.problem(place, &path, message, "include fewer");
            return;
        }
    }
    for file in files {
        match read_file(&file) {
            Ok(mut included) => {
                name_servers(&mut included, findings);
                expand(&mut included, "", environment, findings);
                merge(root, included, findings);
            }
            Err(problem) => findings.problems.push(*problem),
        }
    }
}

/// Moves the servers and views of an included file into the root.
fn merge(root: &mut Node, included: Node, findings: &mut Findings) {
    let (Value::Map(root), place) = (&mut root.value, included.place.clone()) else {
        return;
    };
    let Value::Map(sections) = included.value else {
        findings.expected(&included, "", "a map with `servers` and `views`", "`servers: {}`");
        return;
    };
    for section in sections {
        if section.key != "servers" && section.key != "views" {
            let message = "cannot stand in an included file, which may hold `servers` and `views` only";
            let path = crate::reader::join("", &section.key);
            findings.problem(&section.place, &path, message, "move it to the main file");
            continue;
        }
        let additions = match section.node.value {
            Value::Map(additions) => additions,
            Value::Null => continue,
            _ => {
                findings.expected(&section.node, &section.key, "a map", "`name: { … }`");
                continue;
            }
        };
        let at = root
            .iter()
            .position(|entry| entry.key == section.key)
            .unwrap_or_else(|| {
                let node = Node {
                    value: Value::Map(Vec::new()),
                    place: place.clone(),
                };
                root.push(Entry {
                    key: section.key.clone(),
                    place: place.clone(),
                    node,
                });
                root.len() - 1
            });
        let target = &mut root[at].node;
        if matches!(target.value, Value::Null) {
            target.value = Value::Map(Vec::new());
        }
        let Value::Map(target) = &mut target.value else {
            continue;
        };
        for addition in additions {
            if let Some(first) = target.iter().find(|entry| entry.key == addition.key) {
                let path = crate::reader::join(&section.key, &addition.key);
                let message = format!("is defined twice: first in {}", where_is(&first.place));
                findings.problem(&addition.place, &path, message, "rename one of the two");
                continue;
            }
            target.push(addition);
        }
    }
}

fn where_is(place: &Place) -> String {
    match &place.file {
        Some(file) => format!("{}:{}", file.display(), place.line),
        None => format!("line {}", place.line),
    }
}

/// The files that a path with `*` and `?` in its parts means, sorted; hidden ones only where the pattern says the dot.
fn matching_files(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let has_wildcard = |part: &str| part.contains(['*', '?']);
    let mut found = vec![PathBuf::new()];
    let mut wild = false;
    for component in pattern.components() {
        match component {
            Component::Normal(part) if part.to_str().is_some_and(has_wildcard) => {
                wild = true;
                let text = part.to_str().unwrap_or_default();
                let name = Pattern::new(text).map_err(|error| error.to_string())?;
                let mut next = Vec::new();
                for folder in &found {
                    let folder_or_here = if folder.as_os_str().is_empty() {
                        Path::new(".")
                    } else {
                        folder
                    };
                    let Ok(entries) = std::fs::read_dir(folder_or_here) else {
                        continue;
                    };
                    for entry in entries.flatten() {
                        let file_name = entry.file_name();
                        let Some(file_name) = file_name.to_str() else {
                            continue;
                        };
                        if name.matches(file_name) && (text.starts_with('.') || !file_name.starts_with('.')) {
                            next.push(folder.join(file_name));
                        }
                    }
                }
                next.sort();
                found = next;
            }
            other => found.iter_mut().for_each(|path| path.push(other)),
        }
    }
    if wild {
        found.retain(|path| path.is_file());
    } else if let [path] = &found[..]
        && !path.is_file()
    {
        return Err(format!("{} is no file", path.display()));
    }
    Ok(found)
}
