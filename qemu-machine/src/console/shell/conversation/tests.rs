//! Log-ins played against a console by the clock of the test.

use super::*;
use Line::{Marker as Command, Password, User};

/// What a console does.
enum Play {
    /// Prints this at once.
    Says(&'static str),
    /// Prints this a number of times, after these milliseconds each time.
    Repeats(u32, u64, &'static str),
    /// Does nothing for these milliseconds. Nothing must be typed.
    Idles(u64),
    /// Reads this line, which must be typed within these milliseconds.
    Reads(Line, u64),
    /// Answers the marker, with a user's name.
    Answers(&'static str),
}
use Play::{Answers, Idles, Reads, Repeats, Says};

fn log_in(password: bool) -> Conversation {
    let aim = Aim {
        questions: Questions::new(),
        user: Some("root".to_owned()),
        has_password: password,
        is_patient: true,
    };
    Conversation::new(Instant::now(), aim)
}

/// Plays a console to its end. Returns the outcome, or `None` if the log-in
/// still waits, and all typed lines.
fn play(mut it: Conversation, script: &[Play]) -> (Option<Result<(), ShellFailure>>, Vec<Line>) {
    let mut now = it.typed_at;
    let outcome = script.iter().find_map(|step| match step {
        Says(text) => feed(&mut it, text, now).or_else(|| pass(&mut it, &mut now, 0, None)),
        Repeats(times, pause, text) => (0..*times).find_map(|_| {
            let ended = pass(&mut it, &mut now, *pause, None);
            ended.or_else(|| feed(&mut it, text, now))
        }),
        Idles(time) => pass(&mut it, &mut now, *time, None),
        Reads(line, time) => pass(&mut it, &mut now, *time, Some(*line)),
        Answers(user) => {
            let line = format!("{}{user}\r\n", it.marker.whole());
            feed(&mut it, &line, now)
        }
    });
    (outcome, it.typed)
}

fn feed(it: &mut Conversation, text: &str, now: Instant) -> Option<Result<(), ShellFailure>> {
    text.as_bytes()
        .split_inclusive(|byte| *byte == b'\n')
        .any(|line| it.feed(line, now))
        .then(|| it.outcome.take().unwrap())
}

/// Lets time pass, until this line is typed if there is one.
fn pass(
    it: &mut Conversation,
    now: &mut Instant,
    time: u64,
    line: Option<Line>,
) -> Option<Result<(), ShellFailure>> {
    let end = *now + Duration::from_millis(time);
    loop {
        match it.next(*now) {
            Step::Ended(outcome) => return Some(outcome),
            Step::Type(typed) => {
                assert_eq!(Some(typed), line, "after {:?}", it.typed);
                return None;
            }
            Step::Wait(limit) => {
                let left = end - *now;
                if left.is_zero() {
                    assert_eq!(line, None, "not typed after {:?}", it.typed);
                    return None;
                }
                *now += limit.unwrap_or(left).min(left);
            }
        }
    }
}

/// A console's answers to a password, a line end and a marker, with its prompt.
const TO_A_SHELL: [Play; 6] = [
    Says("\r\n\x1b[?2004h~ # \x1b[6n"),
    Reads(Line::End, 300),
    Says("\r\n\x1b[?2004h~ # \x1b[6n"),
    Reads(Command, 300),
    Says(" echo a''b\"$(id -un 2>/dev/null)\"\r\n"),
    Answers("root"),
];

fn opens(password: bool, script: impl IntoIterator<Item = Play>) -> Vec<Line> {
    let script: Vec<Play> = script.into_iter().chain(TO_A_SHELL).collect();
    let (outcome, typed) = play(log_in(password), &script);
    assert!(
        matches!(outcome, Some(Ok(()))),
        "{outcome:?} after {typed:?}"
    );
    typed
}

fn fails(password: bool, script: impl IntoIterator<Item = Play>) -> ShellFailure {
    let script: Vec<Play> = script.into_iter().collect();
    let (outcome, typed) = play(log_in(password), &script);
    match outcome {
        Some(Err(failure)) => failure,
        outcome => panic!("{outcome:?} after {typed:?}"),
    }
}

#[test]
fn a_name_and_a_password_are_typed_once_each_where_nothing_goes_wrong() {
    let typed = opens(
        true,
        [
            Says("Debian GNU/Linux 12 host ttyS0\r\n\r\nhost login: "),
            Reads(User, 250),
            Says("root\r\nPassword: "),
            Reads(Password, 250),
            Says("\r\nLinux host 6.1\r\nLast login: Tue Nov 28 03:39:41 on ttyS0\r\n"),
        ],
    );
    assert_eq!(typed, [User, Password, Line::End, Command]);
}

#[test]
fn a_name_that_was_thrown_away_is_typed_again_where_it_is_asked_for_again() {
    opens(
        true,
        [
            Says("\r\nhost login: "),
            Reads(User, 250),
            Idles(1500),
            Says("\r\nhost login: "),
            Reads(User, 1100),
            Says("root\r\nPassword: "),
            Reads(Password, 250),
        ],
    );
    // The same if the question only stays.
    opens(
        true,
        [
            Says("\r\nhost login: "),
            Reads(User, 250),
            Idles(3000),
            Reads(User, 1100),
            Says("root\r\nPassword: "),
            Reads(Password, 250),
            Idles(3000),
            Reads(Password, 1100),
        ],
    );
    let asked = || [Says("\r\nhost login: "), Reads(User, 1100)];
    let failure = fails(
        true,
        (0..NAMES)
            .flat_map(|_| asked())
            .chain([Says("\r\nhost login: "), Idles(1100)]),
    );
    assert!(
        matches!(failure, ShellFailure::AskedAgain { times: NAMES }),
        "{failure}"
    );
}

#[test]
fn a_prompt_that_was_torn_or_lost_is_had_back_by_a_line_end() {
    for said in [
        "host log[  OK  ] Started a daemon.\r\nin: ",
        "host login: [  OK  ] a\r\n",
        "",
    ] {
        opens(
            true,
            [
                Says(said),
                Idles(1900),
                Reads(Line::End, 200),
                Says("\r\nhost login: "),
                Reads(User, 250),
                Says("root\r\nPass[  OK  ] Started a daemon.\r\nword: "),
                Reads(Password, 1100),
                Says("\r\n~ [  OK  ] Started a daemon.\r\n"),
                Idles(3900),
                Reads(Line::End, 200),
            ],
        );
    }
    // Output after a question for a password is no answer.
    opens(
        true,
        [
            Says("\r\nhost login: "),
            Reads(User, 250),
            Says("root\r\nPassword: [  OK  ] Started a daemon.\r\n"),
            Reads(Password, 2100),
        ],
    );
}

#[test]
fn nothing_is_typed_while_a_password_may_be_asked_for_whatever_looks_like_a_prompt() {
    for banner in [
        "\r\n# ",
        "\r\nfsck: 100%",
        "\r\n$ ",
        "\r\n=>",
        "\r\n<14> ########",
    ] {
        let typed = opens(
            true,
            [
                Says("\r\nhost login: "),
                Reads(User, 250),
                Says("root\r\n"),
                Idles(4500),
                Repeats(5, 4500, banner),
                Idles(4500),
                Says("\r\nPassword: "),
                Reads(Password, 250),
            ],
        );
        assert_eq!(typed, [User, Password, Line::End, Command]);
    }
}

#[test]
fn a_secret_that_is_not_known_here_gets_no_line_end() {
    let question = "Please unlock disk sda3_crypt: ";
    let (outcome, typed) = play(log_in(true), &[Says(question), Idles(600_000)]);
    assert!(outcome.is_none() && typed.is_empty(), "{typed:?}");
}

#[test]
fn what_looks_like_a_prompt_costs_a_line_end_and_a_marker_only_where_it_comes_again() {
    let (outcome, typed) = play(
        log_in(true),
        &[
            Says("host login: "),
            Reads(User, 250),
            Says("root\r\nPassword: "),
            Reads(Password, 250),
            Says("\r\n<14> 12 % "),
            Reads(Line::End, 250),
            Says("\r\n<14> 45 % "),
            Reads(Line::End, 250),
            Says("\r\nLogin incorrect\r\n"),
        ],
    );
    assert!(
        matches!(outcome, Some(Err(ShellFailure::Refused))),
        "{outcome:?}"
    );
    assert_eq!(typed, [User, Password, Line::End, Line::End]);
    // A prompt with the time in it.
    let (outcome, _) = play(
        log_in(false),
        &[
            Says("host login: "),
            Reads(User, 250),
            Says("root\r\n03:39:41 $ "),
            Reads(Line::End, 1100),
            Says("\r\n03:39:42 $ "),
            Reads(Line::End, 250),
            Says("\r\n03:39:43 $ "),
            Reads(Line::End, 250),
            Says("\r\n03:39:44 $ "),
            Reads(Command, 250),
            Answers("root"),
        ],
    );
    assert!(matches!(outcome, Some(Ok(()))), "{outcome:?}");
    // A marker that was thrown away: the prompt is tried again.
    opens(
        true,
        [
            Says("~ # "),
            Reads(Line::End, 1100),
            Says("\r\n~ # "),
            Reads(Command, 250),
            Says("\r\nan error\r\n~ # "),
            Idles(900),
            Reads(Line::End, 200),
            Says("\r\n$ "),
            Reads(Line::End, 250),
        ],
    );
}

#[test]
fn a_refusal_is_told_at_once_unless_it_may_be_of_what_was_typed_twice() {
    let asked = || {
        [
            Says("\r\nhost login: "),
            Reads(User, 250),
            Says("root\r\nPassword: "),
            Reads(Password, 250),
            Says("\r\n"),
            Idles(3000),
        ]
    };
    for words in [
        "Login incorrect\r\n",
        "Authentication failure\r\n",
        "Permission denied\r\n",
    ] {
        let failure = fails(true, asked().into_iter().chain([Says(words)]));
        assert!(matches!(failure, ShellFailure::Refused), "{failure}");
    }
    // A refusal without known words, after a second time.
    let unknown = || {
        asked()
            .into_iter()
            .chain([Says("Anmeldung fehlgeschlagen\r\n")])
    };
    let failure = fails(
        true,
        unknown().chain([
            Says("\r\nhost login: "),
            Reads(User, 1100),
            Says("root\r\nPassword: "),
            Reads(Password, 250),
            Says("\r\nAnmeldung fehlgeschlagen\r\nhost login: "),
            Idles(1100),
        ]),
    );
    assert!(matches!(failure, ShellFailure::Refused), "{failure}");
    // The second name was read as the password.
    opens(
        true,
        [
            Says("host login: "),
            Reads(User, 250),
            Idles(3500),
            Reads(User, 600),
            Says("\r\nPassword: \r\nLogin incorrect\r\n"),
        ]
        .into_iter()
        .chain(asked()),
    );
}

#[test]
fn others_words_and_those_of_an_earlier_log_in_are_no_refusal() {
    opens(
        true,
        [
            Says("\r\nLogin incorrect\r\nhost login: "),
            Reads(User, 250),
            Says("root\r\nNov 28 sshd[12]: authentication failure; user=root\r\nPassword: "),
            Reads(Password, 250),
            Says("\r\n-bash: /etc/profile: Permission denied\r\n"),
        ],
    );
}

#[test]
fn what_has_expired_is_told_by_its_name_at_once() {
    let asked = || {
        [
            Says("\r\nhost login: "),
            Reads(User, 250),
            Says("root\r\nPassword: "),
            Reads(Password, 250),
        ]
    };
    let password = "\r\nYou are required to change your password immediately (root enforced).\r\n";
    for said in [password, "\r\nCurrent password: ", "\r\nNew password: "] {
        let failure = fails(true, asked().into_iter().chain([Says(said), Idles(250)]));
        assert!(
            matches!(failure, ShellFailure::PasswordExpired),
            "{failure}"
        );
    }
    let account = "\r\nYour account has expired; please contact your administrator.\r\n";
    let failure = fails(true, asked().into_iter().chain([Says(account)]));
    assert!(matches!(failure, ShellFailure::AccountExpired), "{failure}");
}

#[test]
fn a_password_is_wanted_or_not_asked_for() {
    let asked = [
        Says("host login: "),
        Reads(User, 250),
        Says("root\r\nPassword: "),
        Idles(250),
    ];
    let failure = fails(false, asked);
    assert!(matches!(failure, ShellFailure::PasswordWanted), "{failure}");
    opens(
        true,
        [
            Says("host login: "),
            Reads(User, 250),
            Says("root\r\n$ "),
            Idles(4500),
            Reads(Line::End, 600),
        ],
    );
    opens(
        false,
        [
            Says("host login: "),
            Reads(User, 250),
            Says("root\r\n$ "),
            Reads(Line::End, 1100),
        ],
    );
}

#[test]
fn a_shell_that_is_there_is_taken_if_it_is_the_user_s() {
    let there = |user| {
        let login = "host login: root (automatic login)\r\nLast login: Tue Nov 28\r\n~ # ";
        let script = [
            Says(login),
            Reads(Line::End, 1100),
            Says("\r\n~ # "),
            Reads(Command, 250),
            Answers(user),
        ];
        play(log_in(true), &script).0.unwrap()
    };
    for user in ["root", "", "0"] {
        assert!(there(user).is_ok());
    }
    let other = there("alice").unwrap_err();
    assert!(
        matches!(&other, ShellFailure::OtherUser { user } if user == "alice"),
        "{other}"
    );
    // A log-in that shows nothing.
    opens(
        true,
        [
            Idles(1900),
            Reads(Line::End, 200),
            Says("\r\n$ "),
            Reads(Line::End, 250),
        ],
    );
    let activate = "Please press Enter to activate this console. ";
    opens(true, [Says(activate), Reads(Line::End, 2100)]);
}

#[test]
fn a_console_that_is_never_silent_is_asked_all_the_same() {
    let noise = "Nov 28 daemon: again\r\n";
    opens(
        true,
        [
            Says("\r\nhost login: Nov 28 daemon: again\r\n"),
            Repeats(11, 500, noise),
            Reads(Line::End, 600),
            Says("\r\nhost login: "),
            Reads(User, 250),
            Says("root\r\nPassword: "),
            Reads(Password, 250),
        ],
    );
    // The other program writes after the question for a password,
    opens(
        true,
        [
            Says("\r\nhost login: "),
            Reads(User, 250),
            Says("root\r\nPassword: Nov 28 daemon: again\r\n"),
            Repeats(11, 500, noise),
            Reads(Password, 600),
        ],
    );
    // and after the prompt that a line end brought back, too.
    let (outcome, _) = play(
        log_in(true),
        &[
            Says("\r\n~ # "),
            Reads(Line::End, 1100),
            Says("\r\n~ # Nov 28 daemon: again\r\n"),
            Reads(Command, 300),
            Says(noise),
            Answers("root"),
        ],
    );
    assert!(matches!(outcome, Some(Ok(()))), "{outcome:?}");
}

#[test]
fn a_console_that_says_nothing_gets_few_line_ends_and_ever_fewer() {
    let mut it = log_in(true);
    let mut now = it.typed_at;
    let mut pauses = Vec::new();
    loop {
        let typed_at = it.typed_at;
        match it.next(now) {
            Step::Type(line) => {
                assert_eq!(line, Line::End);
                pauses.push(now - typed_at);
            }
            Step::Wait(Some(limit)) => now += limit,
            Step::Wait(None) => break,
            Step::Ended(outcome) => panic!("{outcome:?}"),
        }
    }
    assert_eq!(pauses.len(), LINE_ENDS);
    assert!(pauses.is_sorted(), "{pauses:?}");
    assert!(pauses[LINE_ENDS - 1] > 8 * pauses[0], "{pauses:?}");
}

#[test]
fn where_no_user_was_given_the_shell_is_asked_at_once_and_a_question_is_none() {
    let shell = |is_patient| {
        let aim = Aim {
            questions: Questions::new(),
            user: None,
            has_password: false,
            is_patient,
        };
        Conversation::new(Instant::now(), aim)
    };
    let (outcome, _) = play(
        shell(false),
        &[
            Reads(Command, 0),
            Idles(400),
            Reads(Command, 200),
            Says("\r\n"),
            Answers("root"),
        ],
    );
    assert!(matches!(outcome, Some(Ok(()))), "{outcome:?}");
    for (question, is_patient) in [
        ("host login: ", false),
        ("Password: ", false),
        ("host login: ", true),
        ("Password: ", true),
    ] {
        let (outcome, typed) = play(shell(is_patient), &[Says(question), Idles(1100)]);
        assert!(
            matches!(outcome, Some(Err(ShellFailure::UserWanted))),
            "{outcome:?}"
        );
        assert!(typed.is_empty(), "{typed:?}");
    }
}

#[test]
fn what_was_typed_and_is_awaited_is_told_without_the_password() {
    let mut it = log_in(true);
    it.typed = vec![User, Password, Line::End, Command];
    it.stage = Stage::PasswordTyped;
    let typed: Vec<String> = it.typed().collect();
    let words = [
        "'root'",
        "the password",
        "a line end",
        "a command that a shell answers",
    ];
    assert_eq!(typed, words);
    assert_eq!(
        it.awaited(),
        format!("a shell's prompt '{}'", it.aim.questions.prompt)
    );
}

#[test]
fn a_console_without_a_shell_gets_few_markers() {
    let aim = Aim {
        questions: Questions::new(),
        user: None,
        has_password: false,
        is_patient: false,
    };
    let it = Conversation::new(Instant::now(), aim);
    let mut script = vec![Reads(Command, 0), Says("huh?\r\n> ")];
    for pause in [500, 1000, 2000, 4000, 8000, 8000] {
        script.extend([Idles(pause - 300), Reads(Command, 600)]);
    }
    let (outcome, typed) = play(it, &script);
    assert!(outcome.is_none(), "{outcome:?}");
    assert_eq!(typed.len(), 7);
}
