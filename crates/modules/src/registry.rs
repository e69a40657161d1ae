//! From the name and options in a configuration to a module.

use std::{path::PathBuf, sync::Arc};

use gatepost_gateway::Module;
use gatepost_policy::nearest;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::options::Options;

/// Every name that [`module`] may know, aliases included; a build without a module's feature still names it in its errors.
pub const NAMES: &[&str] = &["files", "filesystem", "calculator", "notes"];

/// Where a module finds itself.
#[derive(Debug, Clone)]
pub struct Context {
    /// The gate's own directory. What a module keeps lies here, and `files` never shows it. It must exist.
    pub data_dir: PathBuf,
    /// What relative paths in options start from, and what `files` serves by default.
    pub folder: PathBuf,
}

/// Why a module cannot be made: [`ModuleError::problem`] says what is wrong, [`ModuleError::remedy`] what to do, and printed it
/// is both.
#[derive(Debug, Error)]
#[error("{}; {}", self.problem(), self.remedy())]
#[non_exhaustive]
pub enum ModuleError {
    /// No module has this name.
    Unknown {
        /// What was asked for.
        name: String,
        /// The name it is most like, if it is like any.
        nearest: Option<&'static str>,
    },
    /// The module exists, but not in this build.
    NotBuilt {
        /// What was asked for.
        name: String,
        /// The feature of `gatepost-modules` that brings it.
        feature: &'static str,
    },
    /// The module has no such option.
    UnknownOption {
        /// The module's name as it was given.
        module: String,
        /// The option's name as it was given.
        option: String,
        /// The option it is most like, if it is like any.
        nearest: Option<&'static str>,
        /// All options of the module.
        known: &'static [&'static str],
    },
    /// The option's value does not do.
    BadOption {
        /// The module's name as it was given.
        module: String,
        /// The option's name.
        option: &'static str,
        /// What is wrong, as the end of a sentence.
        reason: String,
        /// What would be right.
        remedy: &'static str,
    },
    /// What the module keeps its data in cannot be opened.
    Storage {
        /// The module's name as it was given.
        module: String,
        /// The file.
        path: PathBuf,
        /// What the operating system or the database said.
        reason: String,
    },
}

impl ModuleError {
    /// What is wrong, in words for people.
    pub fn problem(&self) -> String {
        match self {
            Self::Unknown { name, .. } => format!("there is no module `{name}`"),
            Self::NotBuilt { name, .. } => format!("the module `{name}` is not in this build"),
            Self::UnknownOption { module, option, .. } => {
                format!("the module `{module}` has no option `{option}`")
            }
            Self::BadOption {
                module,
                option,
                reason,
                ..
            } => format!("the option `{option}` of the module `{module}` {reason}"),
            Self::Storage { module, path, reason } => {
                format!("the module `{module}` cannot open {}: {reason}", path.display())
            }
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unknown { nearest, .. } => {
                format!("{}the modules are {}", suggestion(*nearest), NAMES.join(", "))
            }
            Self::NotBuilt { feature, .. } => {
                format!("build with the cargo feature `{feature}`, on a system that has it")
            }
            Self::UnknownOption { nearest, known, .. } => {
                format!("{}{}", suggestion(*nearest), options_of(known))
            }
            Self::BadOption { remedy, .. } => (*remedy).to_owned(),
            Self::Storage { .. } => {
                "check that its folder exists and may be written, and that the disk is not full".to_owned()
            }
        }
    }

    /// The option that it is about, if it is about one.
    pub fn option(&self) -> Option<&str> {
        match self {
            Self::UnknownOption { option, .. } => Some(option),
            Self::BadOption { option, .. } => Some(option),
            Self::Unknown { .. } | Self::NotBuilt { .. } | Self::Storage { .. } => None,
        }
    }
}

/// Makes the module `name` (one of [`NAMES`]) with the options of its `options:` block.
///
/// Opens what the module needs, a folder or a database, so it may block for as long as that takes.
///
/// # Errors
///
/// [`ModuleError`] says which name, option or file is at fault, and what would do.
pub fn module(
    name: &str,
    options: &Map<String, Value>,
    context: &Context,
) -> Result<Arc<dyn Module>, ModuleError> {
    let options = Options::new(name, options);
    match name {
        #[cfg(all(feature = "files", unix))]
        "files" | "filesystem" => Ok(Arc::new(crate::files::module(&options, context)?)),
        #[cfg(not(all(feature = "files", unix)))]
        "files" | "filesystem" => Err(ModuleError::NotBuilt {
            name: name.to_owned(),
            feature: "files",
        }),
        #[cfg(feature = "calculator")]
        "calculator" => Ok(Arc::new(crate::calculator::module(&options)?)),
        #[cfg(not(feature = "calculator"))]
        "calculator" => Err(ModuleError::NotBuilt {
            name: name.to_owned(),
            feature: "calculator",
        }),
        #[cfg(feature = "notes")]
        "notes" => Ok(Arc::new(crate::notes::module(&options, context)?)),
        #[cfg(not(feature = "notes"))]
        "notes" => Err(ModuleError::NotBuilt {
            name: name.to_owned(),
            feature: "notes",
        }),
        _ => Err(ModuleError::Unknown {
            name: name.to_owned(),
            nearest: nearest(name, NAMES.iter().copied()),
        }),
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("did you mean `{name}`? "))
}

fn options_of(known: &[&str]) -> String {
    if known.is_empty() {
        "it takes none".to_owned()
    } else {
        format!("it takes {}", known.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(name: &str, options: &Value, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("state");
        std::fs::create_dir(&data_dir).unwrap();
        std::fs::write(folder.path().join("plain"), "").unwrap();
        let context = Context {
            data_dir,
            folder: folder.path().to_owned(),
        };
        let options = options.as_object().unwrap();
        let said = match module(name, options, &context) {
            Ok(_) => "fine".to_owned(),
            Err(error) => error
                .to_string()
                .replace(&folder.path().display().to_string(), "FOLDER"),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn every_name_makes_a_module() {
        for name in NAMES {
            check(name, &json!({}), "fine");
        }
        check("filesystem", &json!({"root": ".", "access": "read"}), "fine");
    }

    #[test]
    fn errors_say_what_would_do() {
        check(
            "calculater",
            &json!({}),
            "there is no module `calculater`; did you mean `calculator`? \
             the modules are files, filesystem, calculator, notes",
        );
        check(
            "postgres",
            &json!({}),
            "there is no module `postgres`; the modules are files, filesystem, calculator, notes",
        );
        check(
            "calculator",
            &json!({"x": 1}),
            "the module `calculator` has no option `x`; it takes none",
        );
        check(
            "filesystem",
            &json!({"rot": "."}),
            "the module `filesystem` has no option `rot`; did you mean `root`? it takes root, access",
        );
        check(
            "files",
            &json!({"root": 7}),
            "the option `root` of the module `files` must be a string, not 7; write text, in quotes where it looks like something else",
        );
        check(
            "files",
            &json!({"root": "plain"}),
            "the option `root` of the module `files` names FOLDER/plain, which is not a directory; \
             name a folder",
        );
        check(
            "files",
            &json!({"root": "none"}),
            "the option `root` of the module `files` names FOLDER/none, which cannot be opened: \
             No such file or directory (os error 2); name a folder that exists and that the gate may read",
        );
        check(
            "files",
            &json!({"root": "state"}),
            "the option `root` of the module `files` names FOLDER/state, which is the gate's own data directory; \
             serve another folder",
        );
        check(
            "files",
            &json!({"access": "write"}),
            "the option `access` of the module `files` is `write`, and `read` is the only access it has; \
             write `read`, or leave it out",
        );
    }
}
