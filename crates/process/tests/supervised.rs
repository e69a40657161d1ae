//! Servers under supervision, as real processes: pipes, ends, descriptors, and what is left when the gate, the server
//! or the supervisor is killed.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "this is how tests fail")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use gatepost_process::{Child, Command, Exit, Inherit, SpawnError, Supervisor};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const GATE: &str = env!("CARGO_BIN_EXE_gatepost-process-fixture");
const LONG: Duration = Duration::from_secs(60);

/// A server that starts every kind of process that tends to survive: one that ignores TERM, one in a session of its
/// own, one that lost its parent, and all of that at once. When it says "ready" it has forked, and [`hatched`] waits until all of
/// them have got where they want to be.
const BROOD: &str = r#"
trap '' TERM
( trap '' TERM; sleep 600 ) &
setsid sh -c 'trap "" TERM HUP; sleep 600 & wait' &
( setsid sh -c 'trap "" TERM HUP; nohup sleep 600 >/dev/null 2>&1' </dev/null >/dev/null 2>&1 & )
sh -c 'sh -c "sleep 600 & sleep 600" & wait' &
echo ready
while :; do sleep 600; done
"#;

fn supervisor() -> Supervisor {
    Supervisor::at(GATE)
}

fn sh(script: &str) -> Command {
    Command::new("sh").arg("-c").arg(script)
}

/// A variable that marks a server's whole tree: processes inherit it, whatever group or session they are in.
fn marker(test: &str) -> String {
    format!("GATEPOST_TEST_{test}_{}", std::process::id())
}

/// The living processes that carry the marker, the supervisor too.
fn marked(marker: &str) -> BTreeSet<i32> {
    let needle = format!("{marker}=1");
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| *pid != i32::try_from(std::process::id()).unwrap())
        .filter(|pid| {
            // A zombie has an empty environment.
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == needle.as_bytes())
        })
        .collect()
}

/// Waits until a [`BROOD`] is complete: whoever sleeps has left its session and ignores what it wants to ignore.
fn hatched(marker: &str) {
    all_asleep(marker, 6);
}

/// Waits until so many marked processes sleep.
fn all_asleep(marker: &str, expected: usize) {
    let deadline = Instant::now() + LONG;
    loop {
        let asleep = marked(marker)
            .into_iter()
            .filter(|pid| {
                std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x00600\0")
            })
            .count();
        if asleep == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{asleep} of {expected} are asleep");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until no marked process is left, and fails with what they are after `limit`.
fn assert_all_gone(marker: &str, limit: Duration) {
    let deadline = Instant::now() + limit;
    loop {
        let left = marked(marker);
        if left.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            let names: Vec<String> = left
                .iter()
                .map(|pid| {
                    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    String::from_utf8_lossy(&line).replace('\0', " ")
                })
                .collect();
            for pid in left {
                kill(u32::try_from(pid).unwrap(), Signal::KILL);
            }
            panic!("left after {limit:?}: {names:#?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kill(id: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).ok();
}

async fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    tokio::io::AsyncBufReadExt::read_line(&mut tokio::io::BufReader::new(stdout), &mut line)
        .await
        .unwrap();
    line.trim_end().to_owned()
}

/// The server's id, which the supervisor reports a moment after the spawn.
async fn server_id(child: &mut Child) -> u32 {
    loop {
        if let Some(id) = child.server_id() {
            return id;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn input_output_and_its_end_pass_straight_through() {
    let mut child = sh("cat; echo closed; echo heard >&2; exit 3")
        .spawn(&supervisor())
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = "x".repeat(1 << 20);
    let (_, (stdout, stderr)) = tokio::join!(
        async {
            stdin.write_all(text.as_bytes()).await.unwrap();
            drop(stdin);
        },
        async {
            let (mut out, mut err) = (String::new(), String::new());
            child
                .stdout
                .take()
                .unwrap()
                .read_to_string(&mut out)
                .await
                .unwrap();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut err)
                .await
                .unwrap();
            (out, err)
        }
    );
    assert_eq!(stdout.len(), text.len() + "closed\n".len());
    assert!(stdout.ends_with("xclosed\n"));
    assert_eq!(stderr, "heard\n");
    assert_eq!(child.wait().await, Exit::Code(3));
    assert_eq!(child.wait().await, Exit::Code(3), "the answer stays");
}

#[tokio::test]
async fn an_end_of_output_is_seen_while_the_server_lives() {
    let mut child = sh("exec >&- 2>&-; cat").spawn(&supervisor()).unwrap();
    let mut rest = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut rest).await.unwrap();
    child.stderr.take().unwrap().read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    // And a server that closed its input is noticed when writing.
    let mut child = sh("exec <&-; echo closed; sleep 600")
        .spawn(&supervisor())
        .unwrap();
    assert_eq!(first_line(&mut child).await, "closed");
    // Reported once the supervisor has closed its own copy.
    server_id(&mut child).await;
    assert!(child.stdin.take().unwrap().write_all(b"hello").await.is_err());
}

#[tokio::test]
async fn signals_are_told_from_codes() {
    for (script, exit) in [
        ("exit 0", Exit::Code(0)),
        ("exit 137", Exit::Code(137)),
        ("kill -KILL $$", Exit::Signal(9)),
        ("kill -SEGV $$", Exit::Signal(11)),
    ] {
        assert_eq!(
            sh(script).spawn(&supervisor()).unwrap().wait().await,
            exit,
            "{script}"
        );
        assert_eq!(
            sh(script).spawn(&Supervisor::none()).unwrap().wait().await,
            exit,
            "{script}"
        );
    }
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let problem = Command::new("no-such-program").spawn(&supervisor()).unwrap_err();
    assert!(matches!(problem, SpawnError::NotFound { .. }), "{problem}");
    let problem = sh("exit")
        .cwd("/no/such/folder")
        .spawn(&supervisor())
        .unwrap_err();
    assert!(
        matches!(problem, SpawnError::WorkingDirectory { .. }),
        "{problem}"
    );
    let problem = sh("exit")
        .spawn(&Supervisor::at("/no/such/supervisor"))
        .unwrap_err();
    assert!(problem.to_string().contains("/no/such/supervisor"), "{problem}");
    let problem = sh("exit").arg("\0").spawn(&supervisor()).unwrap_err();
    assert!(matches!(problem, SpawnError::Start { .. }), "{problem}");

    // Only the operating system can tell that an interpreter is missing.
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let exit = Command::new(&script).spawn(&supervisor()).unwrap().wait().await;
    let Exit::NotStarted(why) = exit else {
        panic!("{exit:?}")
    };
    assert!(why.contains("No such file"), "{why}");
}

#[test]
fn a_program_that_would_only_run_twice_is_no_supervisor() {
    assert!(
        Supervisor::current_exe()
            .unwrap_err()
            .to_string()
            .contains("supervisor_main_if_asked")
    );
}

#[tokio::test]
async fn surroundings_are_the_configured_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = sh(r#"echo "$(pwd -P) $ADDED ${CARGO_MANIFEST_DIR-unset}""#)
        .cwd(folder.path())
        .env("ADDED", "yes")
        .spawn(&supervisor())
        .unwrap();
    let folder = std::fs::canonicalize(folder.path()).unwrap();
    assert_eq!(
        first_line(&mut child).await,
        format!("{} yes unset", folder.display())
    );

    let mut child = Command::new("/usr/bin/env")
        .inherit(Inherit::Nothing)
        .env("ONLY", "this")
        .spawn(&supervisor())
        .unwrap();
    let mut all = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut all)
        .await
        .unwrap();
    assert_eq!(all, "ONLY=this\n");
}

/// The gate is killed: nothing may be left, however it tried to get away.
#[test]
fn a_killed_gate_leaves_nothing() {
    let marker = marker("KILLED_GATE");
    let mut gate = std::process::Command::new(GATE)
        .args(["env", &format!("{marker}=1"), "sh", "-c", BROOD])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(gate.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.ends_with("ready\n"), "{line}");
    hatched(&marker);

    gate.kill().unwrap();
    gate.wait().unwrap();
    assert_all_gone(&marker, LONG);
    // The supervisor is the last to go, an instant after what it watched.
    let supervisor = line.split(' ').next().unwrap();
    let deadline = Instant::now() + LONG;
    while let Some(state) = living(supervisor) {
        assert!(Instant::now() < deadline, "the supervisor is left: {state}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The state of a process that has not ended.
fn living(id: &str) -> Option<String> {
    let status = std::fs::read_to_string(Path::new("/proc").join(id).join("status")).ok()?;
    let state = status.lines().find(|line| line.starts_with("State:"))?;
    (!state.contains("zombie")).then(|| state.to_owned())
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing() {
    let marker = marker("DROPPED");
    let mut child = sh(BROOD).env(&marker, "1").spawn(&supervisor()).unwrap();
    assert_eq!(first_line(&mut child).await, "ready");
    hatched(&marker);
    drop(child);
    assert_all_gone(&marker, LONG);
}

#[tokio::test]
async fn a_server_that_ends_takes_along_what_it_started() {
    let marker = marker("ENDED");
    let mut child = sh("setsid sleep 600 & setsid sh -c 'trap \"\" TERM; sleep 600' & cat; exit 4")
        .env(&marker, "1")
        .spawn(&supervisor())
        .unwrap();
    all_asleep(&marker, 2);
    drop(child.stdin.take());
    assert_eq!(child.wait().await, Exit::Code(4));
    assert_all_gone(&marker, Duration::ZERO);
}

#[tokio::test]
async fn a_killed_supervisor_takes_the_server_along() {
    let marker = marker("KILLED_SUPERVISOR");
    let mut child = sh("trap '' TERM; echo ready; sleep 600; :")
        .env(&marker, "1")
        .spawn(&supervisor())
        .unwrap();
    assert_eq!(first_line(&mut child).await, "ready");
    server_id(&mut child).await;
    kill(child.id(), Signal::KILL);
    let exit = child.wait().await;
    assert!(
        matches!(&exit, Exit::Unknown(why) if why.contains("SIGKILL")),
        "{exit:?}"
    );
    // The rest of its process group is ended by the gate.
    assert_all_gone(&marker, LONG);
}

/// Without a gate that looks after it, the parent-death signal alone does it.
#[test]
fn a_killed_supervisor_takes_the_server_along_without_the_gates_help() {
    let marker = marker("PARENT_DEATH");
    let mut gate = std::process::Command::new(GATE)
        .args([
            "env",
            &format!("{marker}=1"),
            "sh",
            "-c",
            "echo ready; exec sleep 600",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(gate.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    kill(line.split(' ').next().unwrap().parse().unwrap(), Signal::KILL);
    assert_all_gone(&marker, LONG);
    gate.kill().unwrap();
    gate.wait().unwrap();
}

#[tokio::test]
async fn a_supervisor_asked_to_end_ends_the_tree() {
    let marker = marker("TERMED_SUPERVISOR");
    let mut child = sh(BROOD).env(&marker, "1").spawn(&supervisor()).unwrap();
    assert_eq!(first_line(&mut child).await, "ready");
    hatched(&marker);
    kill(child.id(), Signal::TERM);
    assert_eq!(child.wait().await, Exit::Signal(9));
    assert_all_gone(&marker, Duration::ZERO);
}

#[tokio::test]
async fn shutdown_closes_stdin_then_terminates_then_kills() {
    for supervisor in [supervisor(), Supervisor::none()] {
        // Content with the end of its input: neither grace is used up.
        let polite = sh("cat; exit 5").spawn(&supervisor).unwrap();
        assert_eq!(polite.shutdown(LONG).await, Exit::Code(5));

        let mut deaf = sh("trap 'exit 6' TERM; echo ready; while :; do sleep 0.05; done")
            .spawn(&supervisor)
            .unwrap();
        assert_eq!(first_line(&mut deaf).await, "ready");
        // It has all the time it needs between TERM and KILL, and the time before TERM need not be waited for.
        let ending = tokio::spawn(deaf.shutdown(LONG));
        tokio::task::yield_now().await;
        tokio::time::pause();
        tokio::time::advance(LONG + Duration::from_millis(1)).await;
        tokio::time::resume();
        assert_eq!(ending.await.unwrap(), Exit::Code(6));

        let mut stubborn = sh("trap '' TERM; echo ready; while :; do sleep 0.05; done")
            .spawn(&supervisor)
            .unwrap();
        assert_eq!(first_line(&mut stubborn).await, "ready");
        assert_eq!(
            stubborn.shutdown(Duration::from_millis(100)).await,
            Exit::Signal(9)
        );
    }
}

#[tokio::test]
async fn shutdown_ends_the_whole_tree() {
    let marker = marker("SHUTDOWN");
    let mut child = sh(BROOD).env(&marker, "1").spawn(&supervisor()).unwrap();
    assert_eq!(first_line(&mut child).await, "ready");
    hatched(&marker);
    assert_eq!(child.shutdown(Duration::from_millis(100)).await, Exit::Signal(9));
    assert_all_gone(&marker, Duration::ZERO);
}

/// A supervisor that is stopped, or stuck, does not hold up the gate, which then ends the tree itself.
#[tokio::test]
async fn a_stopped_supervisor_is_not_waited_for() {
    let marker = marker("STOPPED_SUPERVISOR");
    let mut child = sh(BROOD).env(&marker, "1").spawn(&supervisor()).unwrap();
    assert_eq!(first_line(&mut child).await, "ready");
    hatched(&marker);
    kill(child.id(), Signal::STOP);
    let exit = child.shutdown(Duration::from_millis(10)).await;
    assert!(
        matches!(&exit, Exit::Unknown(why) if why.contains("SIGKILL")),
        "{exit:?}"
    );
    assert_all_gone(&marker, LONG);
}

#[tokio::test]
async fn without_a_supervisor_the_group_is_ended() {
    let marker = marker("PLAIN");
    let mut child = sh("sleep 600 & echo ready; wait")
        .env(&marker, "1")
        .spawn(&Supervisor::none())
        .unwrap();
    assert_eq!(first_line(&mut child).await, "ready");
    assert_eq!(child.server_id(), Some(child.id()));
    drop(child);
    assert_all_gone(&marker, LONG);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_servers_get_three_descriptors_each() {
    // One that the gate was started with, and that nobody made close-on-exec.
    let leaked = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();

    let spawns = (0..20).map(|_| tokio::spawn(async { Command::new("cat").spawn(&supervisor()).unwrap() }));
    let mut children = Vec::new();
    for spawn in spawns.collect::<Vec<_>>() {
        children.push(spawn.await.unwrap());
    }
    let mut pipes = BTreeSet::new();
    for child in &mut children {
        // A server that answers has run its own start, in which libraries open and close files of theirs.
        child.stdin.as_mut().unwrap().write_all(b"ready\n").await.unwrap();
        assert_eq!(first_line(child).await, "ready");
        let id = server_id(child).await;
        let mut open: Vec<(String, String)> = std::fs::read_dir(format!("/proc/{id}/fd"))
            .unwrap()
            .flatten()
            .map(|entry| {
                let target = std::fs::read_link(entry.path()).unwrap().display().to_string();
                (entry.file_name().into_string().unwrap(), target)
            })
            .collect();
        open.sort();
        assert_eq!(
            open.iter().map(|(fd, _)| fd.as_str()).collect::<Vec<_>>(),
            ["0", "1", "2"],
            "{open:?}"
        );
        pipes.extend(open.into_iter().map(|(_, target)| target));
    }
    assert_eq!(pipes.len(), 60, "no two share a pipe");
    // None holds another's stdin open: each ends as soon as its own is closed.
    for child in children {
        assert_eq!(child.shutdown(LONG).await, Exit::Code(0));
    }
}
