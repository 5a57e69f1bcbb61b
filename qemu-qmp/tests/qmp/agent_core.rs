//! The agent's conversation by its public API: what is sent when, and whose
//! an answer is, without sockets.

use qemu_qmp::error::ProtocolError;
use qemu_qmp::wire::{
    AgentAnswer, AgentConnection, AgentOutput, AgentSettings, Line, PauseReason, Port, RequestStage,
};

type Agent = AgentConnection<&'static str>;

fn agent(port: Port, line_limit_bytes: usize) -> Agent {
    let mut settings = AgentSettings::default();
    (settings.port, settings.line_limit_bytes) = (port, line_limit_bytes);
    settings.first_sync = 100;
    AgentConnection::new(&settings)
}

fn line(name: &str) -> Line {
    Line::new(name, None, false)
}

fn submit(agent: &mut Agent, name: &'static str) -> u64 {
    agent.submit(line(name), name)
}

fn sync(number: u64) -> String {
    format!(r#"{{"execute":"guest-sync-delimited","arguments":{{"id":{number}}}}}"#)
}

/// All that is to be sent, `!` for the sentinel.
fn sent(agent: &mut Agent) -> String {
    let (sent, answers) = outputs(agent);
    assert!(answers.is_empty(), "{answers:?}");
    sent
}

/// The answers and their waiters. Nothing must be sent.
fn told(agent: &mut Agent) -> Vec<(&'static str, String)> {
    let (sent, answers) = outputs(agent);
    assert_eq!(sent, "");
    answers
}

fn outputs(agent: &mut Agent) -> (String, Vec<(&'static str, String)>) {
    let (mut sent, mut answers) = (String::new(), Vec::new());
    while let Some(output) = agent.poll_output() {
        match output {
            AgentOutput::Transmit(bytes) => {
                for piece in bytes.split_inclusive(|&byte| byte == 0xff) {
                    match piece.strip_suffix(b"\xff") {
                        Some(text) => sent.push_str(&(String::from_utf8_lossy(text) + "!")),
                        None => sent.push_str(str::from_utf8(piece).unwrap()),
                    }
                }
            }
            AgentOutput::Answer { waiter, answer } => answers.push((waiter, brief(&answer))),
        }
    }
    (sent, answers)
}

fn brief(answer: &AgentAnswer) -> String {
    match answer {
        AgentAnswer::Return(value) => value.get().to_owned(),
        AgentAnswer::Error(reply) => reply.desc.clone(),
        AgentAnswer::Silence => "silence".to_owned(),
        AgentAnswer::Gone => "gone".to_owned(),
        AgentAnswer::GuestPaused(hold) => format!("held: {hold:?}"),
        AgentAnswer::NotUnderstood(ProtocolError::LineTooLong { .. }) => "too long".to_owned(),
        AgentAnswer::NotUnderstood(_) => "not understood".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn answer(who: &'static str, what: &str) -> Vec<(&'static str, String)> {
    vec![(who, what.to_owned())]
}

/// Gets in step by a first command, so that 102 is the next sync's number.
fn in_step(agent: &mut Agent) {
    submit(agent, "first");
    assert_eq!(sent(agent), format!("!{}\n", sync(100)));
    answer_sync(agent, 100);
    let expected = format!("{{\"execute\":\"first\"}}\n{}\n", sync(101));
    assert_eq!(sent(agent), expected);
    agent.receive(b"{\"return\": {}}\n");
    assert_eq!(told(agent), answer("first", "{}"));
    answer_sync(agent, 101);
    assert_eq!(sent(agent), "");
}

fn answer_sync(agent: &mut Agent, number: u64) {
    agent.receive(b"\xff");
    agent.receive(format!("{{\"return\": {number}}}\n").as_bytes());
}

#[test]
fn nothing_is_sent_before_somebody_asks_and_a_command_not_before_the_sync_is_answered() {
    let mut agent = agent(Port::Unknown, 1000);
    agent.receive(b"{\"return\": \"for somebody else\"}\nhal");
    assert_eq!(sent(&mut agent), "");
    submit(&mut agent, "a");
    assert_eq!(sent(&mut agent), format!("!{}\n", sync(100)));
    // Neither a stale reply, nor a stale answer to a sync, nor one of another.
    agent.receive(b"f\"}\n{\"return\": 100}\n\xff{\"return\": 7}\n\xff{\"return\": \"100\"}\n");
    assert_eq!(sent(&mut agent), "");
    answer_sync(&mut agent, 100);
    assert_eq!(
        sent(&mut agent),
        format!("{{\"execute\":\"a\"}}\n{}\n", sync(101))
    );
    agent.receive(b"{\"return\": 1}\n");
    assert_eq!(told(&mut agent), answer("a", "1"));
}

#[test]
fn commands_go_one_after_the_other_in_their_order() {
    let mut agent = agent(Port::Unknown, 1000);
    in_step(&mut agent);
    for name in ["a", "b", "c"] {
        submit(&mut agent, name);
    }
    for (name, fence) in [("a", 102), ("b", 103), ("c", 104)] {
        assert_eq!(
            sent(&mut agent),
            format!("{{\"execute\":\"{name}\"}}\n{}\n", sync(fence))
        );
        agent.receive(b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n");
        assert_eq!(told(&mut agent), answer(name, "no"));
        answer_sync(&mut agent, fence);
    }
    assert_eq!(sent(&mut agent), "");
}

#[test]
fn a_command_without_a_reply_is_known_by_its_fence() {
    let mut agent = agent(Port::Unknown, 1000);
    in_step(&mut agent);
    submit(&mut agent, "guest-shutdown");
    sent(&mut agent);
    answer_sync(&mut agent, 102);
    assert_eq!(told(&mut agent), answer("guest-shutdown", "silence"));
    agent.submit_sync("sync");
    assert_eq!(sent(&mut agent), format!("{}\n", sync(103)));
    answer_sync(&mut agent, 103);
    assert_eq!(told(&mut agent), answer("sync", "silence"));
}

#[test]
fn a_second_reply_is_passed_over() {
    let mut agent = agent(Port::Unknown, 1000);
    in_step(&mut agent);
    submit(&mut agent, "a");
    submit(&mut agent, "b");
    sent(&mut agent);
    agent.receive(b"{\"return\": 1}\n{\"return\": 1}\n");
    assert_eq!(told(&mut agent), answer("a", "1"));
    answer_sync(&mut agent, 102);
    assert_eq!(
        sent(&mut agent),
        format!("{{\"execute\":\"b\"}}\n{}\n", sync(103))
    );
    agent.receive(b"{\"return\": 2}\n");
    assert_eq!(told(&mut agent), answer("b", "2"));
}

// D6
#[test]
fn the_late_reply_of_a_command_given_up_reaches_nobody() {
    let mut agent = agent(Port::Unknown, 1000);
    in_step(&mut agent);
    let id = submit(&mut agent, "slow");
    sent(&mut agent);
    assert_eq!(agent.give_up(id), RequestStage::Sent);
    assert_eq!(sent(&mut agent), "");
    submit(&mut agent, "next");
    assert_eq!(sent(&mut agent), format!("!{}\n", sync(103)));
    agent.receive(b"{\"return\": \"late\"}\n");
    answer_sync(&mut agent, 102);
    assert_eq!(sent(&mut agent), "");
    answer_sync(&mut agent, 103);
    assert_eq!(
        sent(&mut agent),
        format!("{{\"execute\":\"next\"}}\n{}\n", sync(104))
    );
    agent.receive(b"{\"return\": 2}\n");
    assert_eq!(told(&mut agent), answer("next", "2"));
}

#[test]
fn what_is_given_up_before_it_was_sent_never_is() {
    let mut agent = agent(Port::Closed, 1000);
    let first = submit(&mut agent, "a");
    let second = submit(&mut agent, "b");
    assert_eq!(sent(&mut agent), format!("!{}\n", sync(100)));
    agent.receive(b"noise");
    let unsynced = RequestStage::Unsynced {
        port: Port::Closed,
        passed_over_bytes: 5,
    };
    // A request behind another does not restart the sync; the request that started
    // the sync does.
    assert_eq!(agent.give_up(second), unsynced);
    assert_eq!(sent(&mut agent), "");
    submit(&mut agent, "c");
    assert_eq!(agent.give_up(first), unsynced);
    assert_eq!(sent(&mut agent), format!("!{}\n", sync(101)));
    answer_sync(&mut agent, 100);
    assert_eq!(sent(&mut agent), "");
    answer_sync(&mut agent, 101);
    assert_eq!(
        sent(&mut agent),
        format!("{{\"execute\":\"c\"}}\n{}\n", sync(102))
    );
    let behind = submit(&mut agent, "d");
    assert_eq!(agent.give_up(behind), RequestStage::Queued);
}

#[test]
fn a_lost_sync_is_made_anew_though_a_close_of_nobody_s_stands_before() {
    let mut agent = agent(Port::Unknown, 1000);
    agent.submit_unattended(line("close"), "nobody");
    assert_eq!(sent(&mut agent), format!("!{}\n", sync(100)));
    // The agent ends before its answer, and nothing reports that.
    let ping = submit(&mut agent, "ping");
    assert_eq!(sent(&mut agent), "");
    agent.give_up(ping);
    assert_eq!(sent(&mut agent), format!("!{}\n", sync(101)));
}

#[test]
fn what_nobody_asked_for_makes_the_next_command_sync_again() {
    let mut agent = agent(Port::Unknown, 1000);
    in_step(&mut agent);
    agent.receive(b"\r\n");
    agent.receive(b"{\"event\": \"X\"}\n");
    submit(&mut agent, "a");
    assert_eq!(sent(&mut agent), format!("!{}\n", sync(102)));
}

#[test]
fn an_answer_that_is_none_costs_its_command_and_a_sync() {
    for (bad, what) in [
        (b"oops\n".to_vec(), "not understood"),
        (b"{\"return\": \"\xc0\"}\n".to_vec(), "not understood"),
        (b"[1]\n".to_vec(), "not understood"),
        (b"{\"hello\": 1}\n".to_vec(), "not understood"),
        (vec![b'x'; 1001], "too long"),
    ] {
        let mut agent = agent(Port::Unknown, 1000);
        in_step(&mut agent);
        submit(&mut agent, "a");
        sent(&mut agent);
        agent.receive(&bad);
        assert_eq!(told(&mut agent), answer("a", what));
        agent.receive(&bad);
        submit(&mut agent, "b");
        assert_eq!(sent(&mut agent), format!("!{}\n", sync(103)));
        agent.receive(&bad);
        agent.receive(&b"\xff".repeat(3));
        agent.receive(&bad);
        answer_sync(&mut agent, 103);
        assert_eq!(
            sent(&mut agent),
            format!("{{\"execute\":\"b\"}}\n{}\n", sync(104))
        );
    }
}

#[test]
fn an_agent_that_dies_in_the_middle_of_a_reply_has_not_replied() {
    let mut agent = agent(Port::Unknown, 1000);
    in_step(&mut agent);
    submit(&mut agent, "a");
    sent(&mut agent);
    agent.receive(b"{\"return\": {\"half");
    answer_sync(&mut agent, 102);
    assert_eq!(told(&mut agent), answer("a", "silence"));
}

#[test]
fn a_port_that_closes_ends_the_command_and_what_waits_goes_on_with_the_next_agent() {
    let mut agent = agent(Port::Open, 1000);
    in_step(&mut agent);
    submit(&mut agent, "a");
    submit(&mut agent, "b");
    sent(&mut agent);
    agent.port_changed(false);
    // The sync waits at the port; it is not sent again when that opens.
    let (sync_sent, answers) = outputs(&mut agent);
    assert_eq!(sync_sent, format!("!{}\n", sync(103)));
    assert_eq!(answers, answer("a", "gone"));
    agent.port_changed(true);
    assert_eq!(sent(&mut agent), "");
    // Another agent has come without our hearing that this one went.
    agent.port_changed(true);
    assert_eq!(sent(&mut agent), format!("!{}\n", sync(104)));
    answer_sync(&mut agent, 103);
    answer_sync(&mut agent, 104);
    assert_eq!(
        sent(&mut agent),
        format!("{{\"execute\":\"b\"}}\n{}\n", sync(105))
    );
}

#[test]
fn after_a_late_word_of_the_port_the_command_is_lost_only_if_the_agent_does_not_have_it() {
    let asked = || {
        let mut agent = agent(Port::Closed, 1000);
        in_step(&mut agent);
        submit(&mut agent, "a");
        submit(&mut agent, "b");
        sent(&mut agent);
        agent.port_changed(true);
        assert_eq!(sent(&mut agent), format!("!{}\n", sync(103)));
        agent
    };
    let complaint = b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"stray\"}}\n";
    let goes_on = format!("{{\"execute\":\"b\"}}\n{}\n", sync(104));
    // It has.
    let mut agent = asked();
    agent.receive(b"{\"return\": 1}\n");
    assert_eq!(told(&mut agent), answer("a", "1"));
    answer_sync(&mut agent, 102);
    agent.receive(complaint);
    assert_eq!(sent(&mut agent), "");
    answer_sync(&mut agent, 103);
    assert_eq!(sent(&mut agent), goes_on);
    // It has, and there is no reply.
    let mut agent = asked();
    answer_sync(&mut agent, 102);
    assert_eq!(told(&mut agent), answer("a", "silence"));
    agent.receive(complaint);
    answer_sync(&mut agent, 103);
    assert_eq!(sent(&mut agent), goes_on);
    // The agent has the request, and refused it. The error before the probe's answer
    // may be another agent's complaint, so the fence decides.
    let mut agent = asked();
    agent.receive(b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n");
    assert_eq!(told(&mut agent), []);
    answer_sync(&mut agent, 102);
    assert_eq!(told(&mut agent), answer("a", "no"));
    agent.receive(complaint);
    answer_sync(&mut agent, 103);
    assert_eq!(sent(&mut agent), goes_on);
    // It has not: the complaint of the new one is no reply.
    let mut agent = asked();
    agent.receive(complaint);
    assert_eq!(told(&mut agent), []);
    answer_sync(&mut agent, 103);
    let (next, answers) = outputs(&mut agent);
    assert_eq!((next, answers), (goes_on, answer("a", "gone")));
}

#[test]
fn a_sentinel_that_nobody_asked_for_costs_no_reply() {
    let mut agent = agent(Port::Unknown, 1000);
    in_step(&mut agent);
    agent.receive(b"\xff");
    submit(&mut agent, "a");
    assert_eq!(sent(&mut agent), format!("!{}\n", sync(102)));
    answer_sync(&mut agent, 102);
    sent(&mut agent);
    agent.receive(b"{\"return\": 1}\n");
    assert_eq!(told(&mut agent), answer("a", "1"));
}

#[test]
fn while_the_guest_is_held_nobody_waits() {
    let mut agent = agent(Port::Open, 1000);
    in_step(&mut agent);
    submit(&mut agent, "a");
    submit(&mut agent, "b");
    sent(&mut agent);
    agent.guest_paused(Some(PauseReason::ShutDown));
    let held = |name| (name, "held: ShutDown".to_owned());
    assert_eq!(told(&mut agent), [held("a"), held("b")]);
    submit(&mut agent, "c");
    assert_eq!(told(&mut agent), [held("c")]);
    agent.guest_paused(None);
    assert_eq!(sent(&mut agent), "");
    submit(&mut agent, "d");
    assert_eq!(sent(&mut agent), format!("!{}\n", sync(103)));
}

#[test]
fn the_answer_of_a_kept_command_comes_out_though_it_was_given_up() {
    let mut agent = agent(Port::Unknown, 1000);
    in_step(&mut agent);
    let id = agent.submit_kept(line("open"), "open");
    sent(&mut agent);
    agent.give_up(id);
    submit(&mut agent, "next");
    assert_eq!(sent(&mut agent), "");
    agent.receive(b"{\"return\": 1000}\n");
    assert_eq!(told(&mut agent), answer("open", "1000"));
    // But no request waits for ever behind an unanswered request.
    answer_sync(&mut agent, 102);
    sent(&mut agent);
    agent.receive(b"{\"return\": {}}\n");
    answer_sync(&mut agent, 103);
    assert_eq!(outputs(&mut agent).0, "");
    agent.submit_unattended(line("close"), "close");
    let behind = submit(&mut agent, "behind");
    sent(&mut agent);
    assert_eq!(agent.give_up(behind), RequestStage::Queued);
    submit(&mut agent, "after");
    assert_eq!(sent(&mut agent), format!("!{}\n", sync(105)));
}

#[test]
fn every_answer_is_the_same_in_pieces_of_any_size() {
    let whole: &[u8] = b"junk\xfe\n\xff\xff{\"return\": 100}\n";
    let reply: &[u8] = b"{\"return\": \"\xc3\xa9\"}\r\n\xff{\"return\": 101}\r\n";
    for size in 1..whole.len() {
        let mut agent = agent(Port::Unknown, 1000);
        submit(&mut agent, "a");
        submit(&mut agent, "b");
        sent(&mut agent);
        whole.chunks(size).for_each(|piece| agent.receive(piece));
        assert_eq!(
            sent(&mut agent),
            format!("{{\"execute\":\"a\"}}\n{}\n", sync(101))
        );
        reply.chunks(size).for_each(|piece| agent.receive(piece));
        let (next, answers) = outputs(&mut agent);
        assert_eq!(answers, answer("a", "\"é\""));
        assert_eq!(next, format!("{{\"execute\":\"b\"}}\n{}\n", sync(102)));
    }
}
