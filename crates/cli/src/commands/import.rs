//! `gatepost import`: a client's servers, taken over into `gatepost.yaml`.

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
};

use gatepost_config::{Config, FoundSecret, Import, import};
use gatepost_policy::Printable;
use serde_json::json;

use crate::{
    configuration::FILE,
    failure::{Failure, counted, finding},
    output::{self, style},
};

/// The largest file that is read, in bytes. No client's configuration comes near.
const LARGEST_FILE: u64 = 4 << 20;

/// Take a client's servers into gatepost.yaml
///
/// Reads the `mcpServers` JSON of Claude Desktop, Cursor, VS Code and others. Literal secrets move to private files
/// beside the configuration, which refers to them. Nothing that exists is overwritten.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The client's configuration, such as claude_desktop_config.json or .vscode/mcp.json; `-` reads stdin
    file: PathBuf,
    /// Where to write
    #[arg(short, long, value_name = "FILE", default_value = FILE)]
    output: PathBuf,
    /// Print what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Overwrite what exists
    #[arg(long)]
    force: bool,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let text = read(&args.file)?;
    let target = Target::beside(&args.output);
    let plan = import(&text, &target.reference).map_err(|error| {
        Failure::new(
            format!("{}: {error}", args.file.display()),
            "name the file in which the client keeps its servers, such as claude_desktop_config.json",
        )
    })?;
    if !args.dry_run {
        target.write(&plan, &args.output, args.force)?;
    }
    if args.json {
        output::result(&as_json(&plan, &target, args))?;
    } else if args.dry_run {
        output::result(&plan.yaml)?;
    }
    output::words(&described(&plan, &target, args));
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let done = if file == Path::new("-") {
        io::stdin().lock().take(LARGEST_FILE).read_to_string(&mut text)
    } else {
        File::open(file).and_then(|file| file.take(LARGEST_FILE).read_to_string(&mut text))
    };
    done.map_err(|error| {
        Failure::new(
            format!("failed to read {}: {error}", file.display()),
            "check the path; Claude Desktop's file is under Settings, Developer, Edit Config",
        )
    })?;
    Ok(text)
}

/// Where the secrets go.
struct Target {
    folder: PathBuf,
    /// How the configuration names the folder: relative to its own.
    reference: String,
}

impl Target {
    /// `gatepost.yaml` keeps its secrets in `gatepost.secrets/`.
    fn beside(output: &Path) -> Self {
        let stem = output
            .file_stem()
            .map_or("gatepost".into(), |stem| stem.to_string_lossy());
        let reference = format!("{stem}.secrets");
        Self {
            folder: output.with_file_name(&reference),
            reference,
        }
    }

    fn file(&self, secret: &FoundSecret) -> PathBuf {
        self.folder.join(&secret.file)
    }

    /// The secrets first, so that the configuration never refers to what is not there.
    fn write(&self, plan: &Import, output: &Path, force: bool) -> Result<(), Failure> {
        let files = plan
            .secrets
            .iter()
            .map(|secret| self.file(secret))
            .chain([output.to_path_buf()]);
        let taken: Vec<String> = files
            .filter(|file| !force && file.exists())
            .map(|file| file.display().to_string())
            .collect();
        if !taken.is_empty() {
            return Err(Failure::new(
                format!(
                    "{} {} already; nothing was written",
                    taken.join(", "),
                    if taken.len() == 1 { "exists" } else { "exist" }
                ),
                "write elsewhere with `-o FILE`, look with `--dry-run`, or overwrite with `--force`",
            ));
        }
        if !plan.secrets.is_empty() {
            private_folder(&self.folder).map_err(|error| unwritable(&self.folder, &error))?;
        }
        for secret in &plan.secrets {
            let file = self.file(secret);
            private_file(&file, secret.value.expose()).map_err(|error| unwritable(&file, &error))?;
        }
        let mut open = OpenOptions::new();
        open.write(true);
        let open = if force {
            open.create(true).truncate(true)
        } else {
            open.create_new(true)
        };
        open.open(output)
            .and_then(|mut file| file.write_all(plan.yaml.as_bytes()))
            .map_err(|error| unwritable(output, &error))
    }
}

fn unwritable(file: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format!("failed to write {}: {error}", file.display()),
        "check the folder and its permissions, or write elsewhere with `-o FILE`",
    )
}

/// Makes the folder for its owner only, and keeps it out of version control.
fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    fs::write(folder.join(".gitignore"), "*\n")
}

/// Writes for the owner's eyes only, whatever the file was before: a new file takes the old one's place.
fn private_file(file: &Path, text: &str) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    // Made with mode 0600 from the start: it is never readable by others, not even for a moment.
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(text.as_bytes())?;
    temporary.as_file().sync_all()?;
    temporary.persist(file).map_err(|error| error.error)?;
    Ok(())
}

fn described(plan: &Import, target: &Target, args: &Args) -> String {
    let mut text = String::new();
    let (good, warn) = (style::GOOD, style::WARNING);
    let verb = if args.dry_run { "would write" } else { "wrote" };
    let _ = writeln!(text, "{good}{verb}{good:#} {}", args.output.display());
    for secret in &plan.secrets {
        let to = target.file(secret);
        let _ = writeln!(
            text,
            "{good}{verb}{good:#} {} (private), the secret of {}",
            to.display(),
            secret.path
        );
    }
    for warning in &plan.warnings {
        let _ = writeln!(text, "{warn}note{warn:#}: {}", output::harmless(warning));
    }
    if args.dry_run {
        text.push_str("Nothing was written. Without --dry-run it will be.\n");
        return text;
    }
    let file = args.output.display();
    match Config::load(&args.output) {
        Ok(config) => {
            let names: Vec<String> = config
                .servers
                .iter()
                .map(|server| Printable(&server.name).to_string())
                .collect();
            let _ = writeln!(text, "{}: {}", counted(names.len(), "server"), names.join(", "));
            let _ = writeln!(text, "Next: gatepost serve -c {file}");
        }
        Err(problems) => {
            problems
                .iter()
                .for_each(|problem| text.push_str(&finding("error", problem)));
            let _ = writeln!(text, "Next: mend {file}, then gatepost check -c {file}");
        }
    }
    text
}

fn as_json(plan: &Import, target: &Target, args: &Args) -> String {
    let secrets = plan
        .secrets
        .iter()
        .map(|secret| json!({ "path": secret.path, "file": target.file(secret) }));
    let report = json!({
        "output": args.output,
        "written": !args.dry_run,
        "secrets": secrets.collect::<Vec<_>>(),
        "warnings": plan.warnings,
        "yaml": plan.yaml,
    });
    format!("{report:#}\n")
}
