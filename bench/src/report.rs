//! The figures of a run: as a table for people, as JSON for programs, and against the aims.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::json;

use crate::Era;
use crate::machine::{Cores, Description, Memory};
use crate::measure::{SCENARIOS, Sample, Samples, median};
use crate::target::{StartUp, Target};

/// What one idle session costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Sessions {
    pub(crate) target: Target,
    /// The era of the server behind the gate.
    pub(crate) backend: Era,
    pub(crate) count: usize,
    /// Whether each held a connection with its GET stream open, as many clients do.
    pub(crate) listening: bool,
    /// Growth of the resident memory per session, in KiB.
    pub(crate) kib_each: f64,
}

/// Start-up times of one program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct StartUps {
    pub(crate) what: &'static str,
    pub(crate) times: Vec<StartUp>,
}

/// Everything that one run found out.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: Description,
    pub(crate) cores: Cores,
    /// Seconds since 1970.
    pub(crate) when: u64,
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    /// Counted seconds per target, scenario and round.
    pub(crate) seconds: f64,
    pub(crate) versions: Vec<String>,
    pub(crate) samples: Samples,
    pub(crate) idle: BTreeMap<&'static str, Memory>,
    pub(crate) loaded: BTreeMap<&'static str, Memory>,
    pub(crate) sessions: Vec<Sessions>,
    pub(crate) start_ups: Vec<StartUps>,
}

/// An aim, and how far the run is from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Aim {
    pub(crate) what: String,
    pub(crate) at_most: f64,
    pub(crate) unit: &'static str,
    pub(crate) found: f64,
}

impl Aim {
    /// Whether it is met.
    pub(crate) fn met(&self) -> bool {
        self.found <= self.at_most
    }
}

impl Report {
    fn of(&self, key: &str, target: Target) -> Option<&[Sample]> {
        let found = self
            .samples
            .iter()
            .find(|((scenario, of), _)| *scenario == key && *of == target);
        found.map(|(_, samples)| samples.as_slice())
    }

    fn figure(&self, key: &str, target: Target, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
        Some(median(self.of(key, target)?, figure))
    }

    /// The CPU per answer of whichever nginx does this with less.
    fn nginx(&self, key: &str) -> Option<f64> {
        let both = [Target::Nginx, Target::NginxStreaming];
        both.into_iter()
            .filter_map(|nginx| self.figure(key, nginx, Sample::cpu_us))
            .min_by(f64::total_cmp)
    }

    /// The aims that this run can judge.
    pub(crate) fn aims(&self) -> Vec<Aim> {
        let mut aims = Vec::new();
        let gates = [
            Target::GatepostServer,
            Target::GatepostAll,
            Target::GatepostView,
            Target::GatepostGuarded,
        ];
        for gate in gates {
            for (key, work, at_most) in [
                ("call-32", "CPU per tools/call", 1.5),
                ("list-1000", "CPU per list of 1,000 tools", 2.0),
            ] {
                if let (Some(ours), Some(nginx)) = (self.figure(key, gate, Sample::cpu_us), self.nginx(key)) {
                    let what = format!("{work}, {}", gate.label());
                    aims.push(Aim {
                        what,
                        at_most,
                        unit: "x nginx",
                        found: ours / nginx,
                    });
                }
            }
            if gate == Target::GatepostGuarded {
                continue;
            }
            let p50 = |target| self.figure("call-1", target, |sample| sample.counted.p50_us);
            if let (Some(ours), Some(direct)) = (p50(gate), p50(Target::Direct)) {
                let what = format!("p50 added at 1 connection, {}", gate.label());
                aims.push(Aim {
                    what,
                    at_most: 90.0,
                    unit: "us",
                    found: ours - direct,
                });
            }
        }
        for (key, callers) in [("call-16", 16), ("call-64", 64)] {
            if let Some(each_second) = self.figure(key, Target::GatepostSynced, |sample| sample.per_second) {
                // 5,000 calls a second, written so that less is better.
                aims.push(Aim {
                    what: format!("time for each of {callers} callers' calls together, audit synced"),
                    at_most: 200.0,
                    unit: "us",
                    found: 1e6 / each_second,
                });
            }
        }
        // What a connection costs is no matter of sessions: those that hold one are told, not judged.
        for sessions in self.sessions.iter().filter(|sessions| !sessions.listening) {
            let what = format!(
                "idle session, {}, {:?} server",
                sessions.target.label(),
                sessions.backend
            );
            aims.push(Aim {
                what,
                at_most: 8.0,
                unit: "KiB",
                found: sessions.kib_each,
            });
        }
        if let Some(memory) = self.idle.get("gatepost") {
            let found = memory.now as f64 / 1_024.0;
            aims.push(Aim {
                what: "idle RSS".to_owned(),
                at_most: 15.0,
                unit: "MiB",
                found,
            });
        }
        for start_ups in self
            .start_ups
            .iter()
            .filter(|start_ups| start_ups.what.starts_with("gatepost"))
        {
            let found = median(&start_ups.times, |time| time.discover_ms);
            aims.push(Aim {
                what: format!("first answer, {}", start_ups.what),
                at_most: 30.0,
                unit: "ms",
                found,
            });
        }
        aims
    }

    /// Prints the tables.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let machine = &self.machine;
        writeln!(
            out,
            "{}, {} cores, Linux {}",
            machine.processor, machine.cores, machine.kernel
        )?;
        writeln!(
            out,
            "process under test on core {}, generator and backend on core {}; {} x {:.1} s each, medians",
            self.cores.target, self.cores.rest, self.rounds, self.seconds
        )?;
        for version in &self.versions {
            writeln!(out, "{version}")?;
        }
        if self.quick {
            writeln!(out, "QUICK: these figures only show that everything works")?;
        }
        for scenario in &SCENARIOS {
            let targets: Vec<_> = self
                .samples
                .keys()
                .filter(|(key, _)| *key == scenario.key)
                .collect();
            if targets.is_empty() {
                continue;
            }
            writeln!(out, "\n{}", scenario.title)?;
            let header = [
                "calls/s", "p50 us", "p99 us", "CPU us", "user", "system", "x nginx",
            ];
            write!(out, "  {:<24}", "")?;
            for name in header {
                write!(out, "{name:>10}")?;
            }
            writeln!(out)?;
            let nginx = self.nginx(scenario.key);
            for (key, target) in targets {
                let figure =
                    |figure: fn(&Sample) -> f64| self.figure(key, *target, figure).unwrap_or(f64::NAN);
                let cpu = figure(Sample::cpu_us);
                write!(out, "  {:<24}{:>10.0}", target.label(), figure(|s| s.per_second))?;
                for value in [figure(|s| s.counted.p50_us), figure(|s| s.counted.p99_us)] {
                    write!(out, "{value:>10.0}")?;
                }
                for value in [cpu, figure(|s| s.user_us), figure(|s| s.system_us)] {
                    write!(out, "{value:>10.1}")?;
                }
                match nginx {
                    Some(nginx) => writeln!(out, "{:>10.2}", cpu / nginx)?,
                    None => writeln!(out, "{:>10}", "-")?,
                }
            }
        }
        self.print_rest(out)
    }

    fn print_rest(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nmemory, MiB{:>25}{:>10}{:>10}", "idle", "loaded", "peak")?;
        for (name, idle) in &self.idle {
            let loaded = self.loaded.get(name).copied().unwrap_or_default();
            let mib = |kib: u64| kib as f64 / 1_024.0;
            writeln!(
                out,
                "  {name:<24}{:>10.1}{:>10.1}{:>10.1}",
                mib(idle.now),
                mib(loaded.now),
                mib(loaded.peak)
            )?;
        }
        if !self.sessions.is_empty() {
            writeln!(out, "\nidle legacy sessions")?;
        }
        for sessions in &self.sessions {
            writeln!(
                out,
                "  {:<24}{:>6} server {:>8.2} KiB each, {:>8.0} KiB per 1,000 ({} opened{})",
                sessions.target.label(),
                format!("{:?}", sessions.backend).to_lowercase(),
                sessions.kib_each,
                sessions.kib_each * 1e3,
                sessions.count,
                if sessions.listening {
                    ", each with its GET stream"
                } else {
                    ""
                }
            )?;
        }
        if !self.start_ups.is_empty() {
            writeln!(out, "\nstart-up, ms{:>36}{:>12}", "first answer", "first call")?;
        }
        for start_ups in &self.start_ups {
            let (discover, call) = (
                median(&start_ups.times, |time| time.discover_ms),
                median(&start_ups.times, |time| time.call_ms),
            );
            writeln!(out, "  {:<34}{discover:>12.1}{call:>12.1}", start_ups.what)?;
        }
        let aims = self.aims();
        if !aims.is_empty() {
            writeln!(out, "\naims")?;
        }
        for aim in &aims {
            let verdict = if aim.met() { "met" } else { "NOT MET" };
            writeln!(
                out,
                "  {:<60}{:>9.2} of {:>5.1} {:<8}{verdict}",
                aim.what, aim.found, aim.at_most, aim.unit
            )?;
        }
        Ok(())
    }

    /// Writes the run to a file of its own in `folder`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join(format!("{}.json", self.when));
        let scenarios: Vec<_> = self
            .samples
            .iter()
            .map(|((key, target), samples)| {
                json!({
                    "scenario": key,
                    "target": target,
                    "cpu_us": median(samples, Sample::cpu_us),
                    "per_second": median(samples, |sample| sample.per_second),
                    "p50_us": median(samples, |sample| sample.counted.p50_us),
                    "p99_us": median(samples, |sample| sample.counted.p99_us),
                    "rounds": samples,
                })
            })
            .collect();
        let aims: Vec<_> = self
            .aims()
            .iter()
            .map(|aim| json!({ "aim": aim, "met": aim.met() }))
            .collect();
        let all = json!({
            "when": self.when,
            "machine": self.machine,
            "cores": self.cores,
            "versions": self.versions,
            "quick": self.quick,
            "seconds": self.seconds,
            "scenarios": scenarios,
            "memory_kib": { "idle": self.idle, "loaded": self.loaded },
            "sessions": self.sessions,
            "start_up": self.start_ups,
            "aims": aims,
        });
        std::fs::write(&file, format!("{all:#}\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}
