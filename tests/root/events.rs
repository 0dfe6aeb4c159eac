//! Every transition as it happens, with a PID only where the current task is the one who acts.

use std::process::{Command, Stdio};

use crate::common::lines::Running;
use crate::common::tool::{Event, binary};
use crate::common::{Conn, DEADLINE, Events, Kind, Leaker};

/// What happened to one end. A listener's offspring takes its first step with its parent's addresses on
/// some kernels, so that one does not count.
fn steps(events: &[Event], end: &Conn) -> Vec<String> {
    let of_this = |event: &&Event| {
        (&event.local, &event.remote) == (&end.local, &end.remote) && event.old_state != "LISTEN"
    };
    let step = |event: &Event| format!("{} {}", event.old_state, event.new_state);
    events.iter().filter(of_this).map(step).collect()
}

#[test]
fn the_life_of_a_leak() {
    Events::test(&mut Leaker::listening(), Events::start, |leaker, events| {
        let listener = leaker.listen("v4");
        let leak = leaker.leak();
        leaker.close(leak.fd());
        let seen = events
            .until(&listener, |event| event.local == leak.local && event.is("LAST_ACK", "CLOSE"));
        assert_eq!(
            steps(&seen, &leak),
            [
                "SYN_RECV ESTABLISHED",
                "ESTABLISHED CLOSE_WAIT",
                "CLOSE_WAIT LAST_ACK",
                "LAST_ACK CLOSE"
            ]
        );
        for event in &seen {
            assert_eq!((event.netns, event.family.as_str()), (leaker.netns, "ipv4"));
            // The client's port is not chosen yet when it starts to connect.
            let acts = event.is("CLOSE", "SYN_SENT") || event.is("CLOSE_WAIT", "LAST_ACK");
            let actor = acts.then_some(leaker.pid);
            assert_eq!(event.pid, actor, "{event:#?}");
            assert_eq!(event.comm.as_deref(), acts.then_some("leaker"), "{event:#?}");
        }
        let connects = seen.iter().filter(|event| event.is("CLOSE", "SYN_SENT"));
        let remotes: Vec<_> = connects.map(|event| &event.remote).collect();
        assert_eq!(remotes, [&leak.local]);

        let last_ack = seen.iter().find(|event| event.is("CLOSE_WAIT", "LAST_ACK")).unwrap();
        assert_eq!(last_ack.exiting, Some(false));
        assert!(last_ack.in_old_state_seconds.is_some(), "{last_ack:#?}");
        let times: Vec<_> =
            seen.iter().map(|event| humantime::parse_rfc3339(&event.time).unwrap()).collect();
        assert!(times.is_sorted(), "{seen:#?}");
    });
}

#[test]
fn a_close_by_exit_says_so() {
    Events::test(&mut Leaker::listening(), Events::start, |leaker, events| {
        let mut victim = leaker.start_beside();
        let listener = victim.listen("v4");
        let leak = victim.leak();
        let pid = victim.pid;
        victim.exit();
        let seen = events.until(&listener, |event| {
            event.remote == leak.remote && event.is("CLOSE_WAIT", "LAST_ACK")
        });
        let last = seen.last().unwrap();
        assert_eq!((last.pid, last.exiting), (Some(pid), Some(true)), "{last:#?}");
    });
}

#[test]
fn ipv6_addresses() {
    Events::test(&mut Leaker::listening(), Events::start, |leaker, events| {
        let listener = leaker.listen("v6");
        let leak = leaker.plant_one(Kind::EofUnread);
        let seen = events.until(&listener, |event| {
            event.local == leak.local && event.is("ESTABLISHED", "CLOSE_WAIT")
        });
        let last = seen.last().unwrap();
        assert_eq!((last.family.as_str(), &last.remote), ("ipv6", &leak.remote));
        assert_eq!(last.pid, None);
    });
}

#[test]
fn for_people() {
    let start = |leaker: &mut Leaker| {
        let mut command = Command::new(binary());
        command.args(["events", "--netns", &leaker.netns.to_string()]).stdin(Stdio::null());
        Events { process: Running::start(&mut command) }
    };
    Events::test(&mut Leaker::listening(), start, |leaker, events| {
        let mut line = || String::from_utf8(events.process.line(DEADLINE).unwrap()).unwrap();
        // The header comes once the tool is ready.
        let header = line();
        let pid_column = header.split_whitespace().position(|word| word == "PID").unwrap();
        let leak = leaker.leak();
        leaker.close(leak.fd());
        let mut shown = Vec::new();
        while !shown.last().is_some_and(|line: &String| line.contains("LAST_ACK    CLOSE")) {
            shown.push(line());
        }
        let pid_of = |step: &str| {
            let of_this = |line: &&String| line.contains(&leak.local) && line.contains(step);
            let line = shown.iter().find(of_this).unwrap_or_else(|| panic!("{step} in {shown:#?}"));
            line.split_whitespace().nth(pid_column).unwrap().to_owned()
        };
        let pid = leaker.pid.to_string();
        assert_eq!(pid_of("CLOSE       SYN_SENT"), pid);
        assert_eq!(pid_of("SYN_SENT    ESTABLISHED"), "-");
        assert_eq!(pid_of("ESTABLISHED CLOSE_WAIT"), "-");
        assert_eq!(pid_of("CLOSE_WAIT  LAST_ACK"), pid);
        assert_eq!(pid_of("LAST_ACK    CLOSE"), "-");
        assert!(shown.iter().all(|line| line.contains("0xffff")), "{shown:#?}");
    });
}
