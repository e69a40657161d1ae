//! One whole run: start everything, let the targets take turns, then memory, sessions and start-up.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::Era;
use crate::answers::ECHO;
use crate::load::{Connection, Endpoint};
use crate::machine::{self, Cores, Memory};
use crate::measure::{SCENARIOS, Samples, Scenario, sample};
use crate::report::{Report, Sessions, StartUps};
use crate::request::Ask;
use crate::target::{Guard, Process, StartUp, Starter, Target, first_answers};

/// What to measure, for how long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Targets, comma-separated.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "direct,nginx,nginx-streaming,gatepost-server,gatepost-all,gatepost-view,gatepost-guarded,gatepost-synced"
    )]
    targets: Vec<Target>,
    /// Only scenarios whose key contains this (call-32, list-1000, legacy, sessions, start-up …).
    #[arg(long, default_value = "")]
    only: String,
    /// Seconds that are counted, per target, scenario and round.
    #[arg(long, short, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds; the median of them is reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// One short round, to see whether everything works. Its figures are noise.
    #[arg(long)]
    quick: bool,
    /// Sessions that are opened to see what one costs.
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// The core of the process under test.
    #[arg(long, default_value_t = 0)]
    target_core: usize,
    /// The core of the generator and of the backend behind a target.
    #[arg(long, default_value_t = 1)]
    other_core: usize,
    /// The nginx program.
    #[arg(long, default_value = "nginx")]
    nginx: PathBuf,
    /// The Gatepost program.
    #[arg(long, default_value = "target/release/gatepost")]
    gatepost: PathBuf,
    /// The folder that gets the results as JSON, one file a run.
    #[arg(long, default_value = "bench/results")]
    json: PathBuf,
    /// Write no JSON.
    #[arg(long)]
    no_json: bool,
}

impl Options {
    fn starter(&self) -> Starter {
        Starter {
            cores: Cores {
                target: self.target_core,
                rest: self.other_core,
            },
            nginx: self.nginx.clone(),
            gatepost: self.gatepost.clone(),
        }
    }

    fn wants(&self, key: &str) -> bool {
        key.contains(&self.only)
    }

    fn scenarios(&self) -> Vec<&'static Scenario> {
        SCENARIOS
            .iter()
            .filter(|scenario| self.wants(scenario.key))
            .collect()
    }
}

/// The processes of a run. They live side by side, so that all meet the same weather; those that nobody
/// asks use no CPU.
struct Stand {
    direct: BTreeMap<bool, Process>,
    /// By (legacy backend, buffered).
    nginx: BTreeMap<(bool, bool), Process>,
    /// By (legacy backend, tools, what is switched on).
    gates: BTreeMap<(bool, usize, Guard), Process>,
    /// By legacy; behind everything but `direct`.
    backends: BTreeMap<bool, Process>,
}

impl Stand {
    async fn start(starter: &Starter, targets: &[Target], scenarios: &[&'static Scenario]) -> Result<Self> {
        let mut stand = Self {
            direct: BTreeMap::new(),
            nginx: BTreeMap::new(),
            gates: BTreeMap::new(),
            backends: BTreeMap::new(),
        };
        for era in [Era::Modern, Era::Legacy] {
            stand
                .direct
                .insert(era == Era::Legacy, starter.backend(era, true)?);
            stand
                .backends
                .insert(era == Era::Legacy, starter.backend(era, false)?);
        }
        for scenario in scenarios {
            for target in targets.iter().copied().filter(|target| scenario.suits(*target)) {
                stand.start_for(starter, target, scenario).await?;
            }
        }
        Ok(stand)
    }

    /// Starts what `target` needs for `scenario`, unless it runs already.
    async fn start_for(&mut self, starter: &Starter, target: Target, scenario: &Scenario) -> Result<()> {
        let legacy = scenario.backend == Era::Legacy;
        let backend = &self.backends[&legacy];
        let begun = Instant::now();
        match target {
            Target::Direct => {}
            Target::Nginx | Target::NginxStreaming => {
                let key = (legacy, target == Target::Nginx);
                if let Entry::Vacant(place) = self.nginx.entry(key) {
                    let process = starter.nginx(backend.endpoint.address, key.1)?;
                    process.listening(begun)?;
                    place.insert(process);
                }
            }
            _ => {
                let guard = target.guard();
                let key = (legacy, scenario.tools, guard);
                if let Entry::Vacant(place) = self.gates.entry(key) {
                    let mut process = if guard == Guard::None {
                        starter.gatepost(&behind(backend, scenario.tools), None)?
                    } else {
                        starter.guarded(&backend.endpoint, guard)?
                    };
                    first_answers(&mut process, target, target.gate_path(), begun).await?;
                    place.insert(process);
                }
            }
        }
        Ok(())
    }

    /// Where `scenario` reaches `target`, and which process to watch.
    fn reach(&self, target: Target, scenario: &Scenario) -> Result<(Endpoint, u32)> {
        let legacy = scenario.backend == Era::Legacy;
        let (process, path) = match target {
            Target::Direct => (self.direct.get(&legacy), path_of(scenario.tools)),
            Target::Nginx | Target::NginxStreaming => (
                self.nginx.get(&(legacy, target == Target::Nginx)),
                path_of(scenario.tools),
            ),
            _ => (
                self.gates.get(&(legacy, scenario.tools, target.guard())),
                target.gate_path().to_owned(),
            ),
        };
        let process = process.with_context(|| format!("{} was not started", target.label()))?;
        Ok((process.endpoint.at(&path), process.id()))
    }
}

fn path_of(tools: usize) -> String {
    if tools == 10 {
        "/mcp".to_owned()
    } else {
        format!("/mcp/{tools}")
    }
}

fn behind(backend: &Process, tools: usize) -> Endpoint {
    backend.endpoint.at(&path_of(tools))
}

/// Measures and prints.
///
/// # Errors
/// When a target cannot be started or answers wrongly.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let starter = options.starter();
    machine::pin(starter.cores.rest)?;
    let (rounds, counted, warm_up) = if options.quick {
        (1, Duration::from_millis(500), Duration::from_millis(200))
    } else {
        (
            options.rounds.max(1),
            Duration::from_secs_f64(options.seconds),
            Duration::from_millis(700),
        )
    };
    let scenarios = options.scenarios();
    ensure!(
        !scenarios.is_empty() || options.wants("sessions") || options.wants("start-up"),
        "nothing that is measured has `{}` in its key",
        options.only
    );
    let stand = Stand::start(&starter, &options.targets, &scenarios).await?;

    let idle = memories(&stand, &options.targets)?;
    let mut samples = Samples::new();
    for round in 0..rounds {
        for scenario in &scenarios {
            say(&format!("round {}/{rounds}: {}", round + 1, scenario.title));
            let mut turn: Vec<Target> = options
                .targets
                .iter()
                .copied()
                .filter(|target| scenario.suits(*target))
                .collect();
            // Nobody always goes first.
            let first = round % turn.len().max(1);
            turn.rotate_left(first);
            for target in turn {
                let (endpoint, pid) = stand.reach(target, scenario)?;
                let sample = sample(scenario, target, &endpoint, pid, warm_up, counted).await?;
                samples.entry((scenario.key, target)).or_default().push(sample);
            }
        }
    }
    let loaded = memories(&stand, &options.targets)?;

    let sessions = if options.wants("sessions") {
        all_sessions(options, &starter, &stand).await?
    } else {
        Vec::new()
    };
    let start_ups = if options.wants("start-up") {
        all_start_ups(options, &starter, &stand).await?
    } else {
        Vec::new()
    };
    let report = Report {
        machine: machine::describe(),
        cores: starter.cores,
        when: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        quick: options.quick,
        rounds,
        seconds: counted.as_secs_f64(),
        versions: versions(options),
        samples,
        idle,
        loaded,
        sessions,
        start_ups,
    };
    report.print(&mut std::io::stdout().lock())?;
    if !options.no_json {
        let file = report.write(&options.json)?;
        say(&format!("written to {}", file.display()));
    }
    Ok(())
}

/// Starts everything, says where it is, and waits to be ended.
///
/// # Errors
/// When a target cannot be started.
pub(crate) async fn up(options: &Options) -> Result<()> {
    let starter = options.starter();
    machine::pin(starter.cores.rest)?;
    let scenarios = options.scenarios();
    let stand = Stand::start(&starter, &options.targets, &scenarios).await?;
    let mut out = std::io::stdout();
    for scenario in &scenarios {
        writeln!(out, "{}", scenario.title)?;
        for target in options
            .targets
            .iter()
            .copied()
            .filter(|target| scenario.suits(*target))
        {
            let (endpoint, pid) = stand.reach(target, scenario)?;
            let (address, path) = (endpoint.address, &endpoint.path);
            writeln!(
                out,
                "  {:<24} http://{address}{path}  tool {}  pid {pid}",
                target.label(),
                target.tool(ECHO)
            )?;
        }
    }
    writeln!(out, "Ctrl-C ends everything.")?;
    // Ended from outside, as every command is.
    std::future::pending().await
}

fn memories(stand: &Stand, targets: &[Target]) -> Result<BTreeMap<&'static str, Memory>> {
    let mut found = BTreeMap::new();
    if targets.contains(&Target::Direct) {
        found.insert("direct", machine::memory(stand.direct[&false].id())?);
    }
    for (buffered, name) in [(true, "nginx"), (false, "nginx, streaming")] {
        if let Some(process) = stand.nginx.get(&(false, buffered)) {
            found.insert(name, machine::memory(process.id())?);
        }
    }
    for (tools, guard, name) in [
        (10, Guard::None, "gatepost"),
        (1_000, Guard::None, "gatepost, 1,000 tools"),
        (10, Guard::Batch, "gatepost, guarded, 1,000 tools of 50 servers"),
    ] {
        if let Some(process) = stand.gates.get(&(false, tools, guard)) {
            found.insert(name, machine::memory(process.id())?);
        }
    }
    Ok(found)
}

async fn all_sessions(options: &Options, starter: &Starter, stand: &Stand) -> Result<Vec<Sessions>> {
    let count = if options.quick { 500 } else { options.sessions };
    let mut found = Vec::new();
    for target in options
        .targets
        .iter()
        .copied()
        .filter(|target| target.is_gatepost() && target.guard() == Guard::None)
    {
        for era in [Era::Modern, Era::Legacy] {
            say(&format!("sessions: {}, {era:?} server", target.label()));
            let backend = &stand.backends[&(era == Era::Legacy)];
            found.push(sessions_cost(starter, backend, target, era, count).await?);
            found.extend(listening_cost(starter, backend, target, era, count.min(STREAMS)).await?);
        }
    }
    Ok(found)
}

async fn all_start_ups(options: &Options, starter: &Starter, stand: &Stand) -> Result<Vec<StartUps>> {
    say("start-up");
    let repeats = if options.quick { 2 } else { 10 };
    let backend = &stand.backends[&false];
    let mut found = Vec::new();
    if options.targets.contains(&Target::Nginx) {
        let times = nginx_start_ups(starter, backend, repeats).await?;
        found.push(StartUps { what: "nginx", times });
    }
    if options.targets.iter().any(|target| target.is_gatepost()) {
        let (fresh, kept) = gate_start_ups(starter, backend, repeats).await?;
        found.push(StartUps {
            what: "gatepost, empty data_dir",
            times: fresh,
        });
        found.push(StartUps {
            what: "gatepost, its own data_dir again",
            times: kept,
        });
    }
    Ok(found)
}

/// What a legacy session costs a fresh gate once it has been used and lies idle.
async fn sessions_cost(
    starter: &Starter,
    backend: &Process,
    target: Target,
    era: Era,
    count: usize,
) -> Result<Sessions> {
    let mut gate = starter.gatepost(&behind(backend, 10), None)?;
    first_answers(&mut gate, target, target.gate_path(), Instant::now()).await?;
    let endpoint = gate.endpoint.at(target.gate_path());
    let mut connection = Connection::open(&endpoint).await?;
    // The first ones pay for what all share.
    open_sessions(&mut connection, target, count / 10).await?;
    let before = machine::memory(gate.id())?;
    open_sessions(&mut connection, target, count).await?;
    let after = machine::memory(gate.id())?;
    let grown = after.now.saturating_sub(before.now) as f64;
    Ok(Sessions {
        target,
        backend: era,
        count,
        listening: false,
        kib_each: grown / count as f64,
    })
}

/// What one costs whose client also keeps a connection with its GET stream; `None` where there are no such streams.
async fn listening_cost(
    starter: &Starter,
    backend: &Process,
    target: Target,
    era: Era,
    count: usize,
) -> Result<Option<Sessions>> {
    let mut gate = starter.gatepost(&behind(backend, 10), None)?;
    first_answers(&mut gate, target, target.gate_path(), Instant::now()).await?;
    let endpoint = gate.endpoint.at(target.gate_path());
    let mut connection = Connection::open(&endpoint).await?;
    open_sessions(&mut connection, target, count / 5).await?;
    let before = machine::memory(gate.id())?;
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let session = connection.begin(Era::Legacy).await?;
        let mut stream = Connection::open(&endpoint).await?;
        if !stream.listen(session.as_deref()).await? {
            return Ok(None);
        }
        streams.push(stream);
    }
    let grown = machine::memory(gate.id())?.now.saturating_sub(before.now) as f64;
    Ok(Some(Sessions {
        target,
        backend: era,
        count,
        listening: true,
        kib_each: grown / count as f64,
    }))
}

/// So many streams fit under the usual limit of 1,024 open files, on either side.
const STREAMS: usize = 500;

async fn open_sessions(connection: &mut Connection, target: Target, count: usize) -> Result<()> {
    for _ in 0..count {
        let session = connection.begin(Era::Legacy).await?;
        let mut call = connection.request(Era::Legacy, Ask::Call(target.tool(ECHO)), session.as_deref());
        connection.once(&mut call).await?;
    }
    Ok(())
}

async fn nginx_start_ups(starter: &Starter, backend: &Process, repeats: usize) -> Result<Vec<StartUp>> {
    let mut times = Vec::new();
    for _ in 0..repeats {
        let begun = Instant::now();
        let mut process = starter.nginx(backend.endpoint.address, true)?;
        times.push(first_answers(&mut process, Target::Nginx, "/mcp", begun).await?);
    }
    Ok(times)
}

/// Start-up times on an empty data folder, and on the one the same gate left behind.
async fn gate_start_ups(
    starter: &Starter,
    backend: &Process,
    repeats: usize,
) -> Result<(Vec<StartUp>, Vec<StartUp>)> {
    let (mut fresh, mut kept) = (Vec::new(), Vec::new());
    let (target, endpoint) = (Target::GatepostServer, behind(backend, 10));
    for _ in 0..repeats {
        let begun = Instant::now();
        let mut process = starter.gatepost(&endpoint, None)?;
        fresh.push(first_answers(&mut process, target, target.gate_path(), begun).await?);
        let (mut process, begun) = process.again(starter, &endpoint)?;
        kept.push(first_answers(&mut process, target, target.gate_path(), begun).await?);
    }
    Ok((fresh, kept))
}

fn versions(options: &Options) -> Vec<String> {
    let version = |program: &Path, argument: &str| {
        let output = std::process::Command::new(program).arg(argument).output().ok()?;
        // nginx prints its version to stderr.
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).lines().next().map(str::to_owned)
    };
    let mut found: Vec<String> = version(&options.nginx, "-v").into_iter().collect();
    if options.targets.iter().any(|target| target.is_gatepost()) {
        found.extend(version(&options.gatepost, "--version"));
    }
    found
}

fn say(words: &str) {
    // Progress is for people; it matters to nobody whether it can be written.
    _ = writeln!(std::io::stderr(), "{words}");
}
