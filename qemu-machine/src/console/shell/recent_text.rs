//! The last text of a console during a log-in, and the question at its end.
//!
//! A question stands when it is the last text on the console. So `Last login:
//! Tue` and `login: root` are no questions. A question with another program's
//! output after it is none either.
//!
//! Pure: no console, no clock.

use crate::spec::Noise;
use std::ops::ControlFlow;

use crate::console::Pattern;
use crate::console::noise::Filter;
use crate::console::pattern::Search;

/// The patterns for each question.
#[derive(Debug, Clone)]
pub(super) struct Questions {
    pub(super) login: Pattern,
    pub(super) password: Pattern,
    pub(super) prompt: Pattern,
    pub(super) new_password: Pattern,
    torn_password: Pattern,
}

/// The question at the end of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Login,
    Password,
    /// The rest of a question for a password, torn by another program's line.
    TornPassword,
    /// A new password, or the old one before it may be changed.
    NewPassword,
    /// Another secret, such as a disk's passphrase or a second factor.
    Secret,
    /// Text that looks like a shell's prompt; many a banner does too.
    Prompt,
    Nothing,
}

/// How a log-in ended, by a whole line of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Refused,
    PasswordExpired,
    AccountExpired,
}

/// The last text of a console.
#[derive(Debug, Default)]
pub(super) struct RecentText {
    /// Without the kernel's lines.
    tail: Vec<u8>,
    /// How many of its bytes came after the last typed line.
    since_typed: usize,
}

impl Questions {
    pub(super) fn new() -> Self {
        let pattern = |expression| Pattern::regex(expression).expect("an expression of ours");
        Self {
            login: Pattern::literal("login: "),
            password: pattern(r"[Pp]assword[^\r\n]*: "),
            // Not the end of `####`. The text always follows a line end.
            prompt: pattern("[^#$%>][#$%>] ?$"),
            new_password: pattern(
                r"(?i)\b(new|current|old|retype|re-enter|repeat)\b[^\r\n]*password[^\r\n]*: ",
            ),
            torn_password: pattern(r"\n(((((a?s)?s)?w)?o)?r)?d: $"),
        }
    }
}

impl RecentText {
    /// Reads more text of the console, without the kernel's lines.
    pub(super) fn push(&mut self, text: &[u8]) {
        self.tail.extend_from_slice(text);
        let surplus = self.tail.len().saturating_sub(KEPT_BYTES);
        self.tail.drain(..surplus);
        self.since_typed = (self.since_typed + text.len()).min(KEPT_BYTES);
    }

    /// Notes that a line was typed.
    pub(super) fn typed(&mut self) {
        self.since_typed = 0;
    }

    /// Whether any output came after the last typed line.
    pub(super) fn has_answer(&self) -> bool {
        self.since_typed > 0
    }

    /// The question at the end.
    pub(super) fn question(&self, questions: &Questions) -> Question {
        // The caller's pattern may contain escape sequences.
        let texts = [plain(&self.tail), [b"\n", self.tail.as_slice()].concat()];
        let stands = |pattern| texts.iter().any(|text| stands(pattern, text));
        // The name of a host may contain the word `password`.
        if stands(&questions.login) {
            Question::Login
        } else if stands(&questions.new_password) {
            Question::NewPassword
        } else if stands(&questions.password) {
            Question::Password
        } else if stands(&questions.torn_password) {
            Question::TornPassword
        } else if asks_for_a_secret(&self.last_line()) {
            Question::Secret
        } else if stands(&questions.prompt) {
            Question::Prompt
        } else {
            Question::Nothing
        }
    }

    /// Whether a match came after the last typed line, with other text after it.
    pub(super) fn has_passed(&self, pattern: &Pattern) -> bool {
        let text = plain(&self.tail[self.tail.len() - self.since_typed..]);
        ends(pattern, &text).next().is_some()
    }

    /// Whether a line with this beginning came after the last typed line.
    pub(super) fn has_line(&self, begin: &[u8]) -> bool {
        let text = plain(&self.tail[self.tail.len() - self.since_typed..]);
        let line = [b"\n", begin].concat();
        text.windows(line.len()).any(|it| it == line)
    }

    /// The last line of the text, without escape sequences.
    pub(super) fn last_line(&self) -> Vec<u8> {
        let text = plain(&self.tail);
        let begin = text.iter().rposition(|byte| *byte == b'\n');
        text[begin.map_or(0, |at| at + 1)..]
            .trim_ascii_end()
            .to_vec()
    }

    /// The line that has just ended, without escape sequences.
    pub(super) fn ended_line(&self) -> Vec<u8> {
        let text = self.tail.strip_suffix(b"\n").unwrap_or(&self.tail);
        let begin = text.iter().rposition(|byte| *byte == b'\n');
        plain(&text[begin.map_or(0, |at| at + 1)..])
    }
}

/// The verdict in a line. It knows the texts of `login(1)` of Debian and of
/// busybox, and of PAM's modules (`pam_strerror(3)`, `pam_unix`,
/// `pam_faillock`).
pub(super) fn verdict(line: &[u8]) -> Option<Verdict> {
    let line = String::from_utf8_lossy(line).to_lowercase();
    let mut line = line.trim();
    for prefix in ["login: ", "warning: "] {
        line = line.strip_prefix(prefix).unwrap_or(line);
    }
    let begins = |words: &[&str]| words.iter().any(|words| line.starts_with(words));
    if begins(&PASSWORD_EXPIRED) {
        Some(Verdict::PasswordExpired)
    } else if begins(&ACCOUNT_EXPIRED) {
        Some(Verdict::AccountExpired)
    } else {
        begins(&REFUSED).then_some(Verdict::Refused)
    }
}

/// Whether a match ends the text; blanks and colons may follow.
fn stands(pattern: &Pattern, text: &[u8]) -> bool {
    let is_filling = |byte: &u8| matches!(byte, b' ' | b'\t' | b':');
    ends(pattern, text).any(|end| text[end..].iter().all(is_filling))
}

/// Where the matches of a pattern end, in order.
fn ends<'a>(pattern: &'a Pattern, text: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = text.get(from..)?;
        // A pattern that is too complex for 4 KiB has no match.
        let mut search = Search::new(pattern).ok()?;
        let end = match search.feed(rest).ok()? {
            Some(count) => from + count,
            None if search.matches_at_end().ok()? => text.len(),
            None => return None,
        };
        from = end.max(from + 1);
        Some(end)
    })
}

fn asks_for_a_secret(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line).to_lowercase();
    let mut words = line.split(|it: char| !it.is_alphanumeric());
    let is_secret = |word: &str| word.starts_with("pass") || SECRETS.contains(&word);
    line.ends_with([':', '?']) && words.any(is_secret)
}

/// A text without escape sequences, after a line end.
fn plain(text: &[u8]) -> Vec<u8> {
    let noise = Noise {
        escapes: true,
        kernel_lines: false,
    };
    let mut plain = vec![b'\n'];
    let _ = Filter::new(noise, 0).push(text, |run, _| {
        plain.extend_from_slice(run);
        ControlFlow::<()>::Continue(())
    });
    plain
}

const KEPT_BYTES: usize = 4 << 10;

const REFUSED: [&str; 12] = [
    "login incorrect",
    "authentication fail",
    "permission denied",
    "account locked",
    "the account is locked",
    "your account has been locked",
    "your account is locked",
    "this account is currently not available",
    "maximum number of tries exceeded",
    "have exhausted maximum number of retries",
    "too many logins",
    "user not known to the underlying authentication module",
];
const PASSWORD_EXPIRED: [&str; 6] = [
    "you are required to change your password immediately",
    "you must change your password",
    "your password has expired",
    "password expired",
    "authentication token expired",
    "authentication token is no longer valid",
];
const ACCOUNT_EXPIRED: [&str; 4] = [
    "your account has expired",
    "your login has expired",
    "user account has expired",
    "account expired",
];
const SECRETS: [&str; 6] = ["secret", "unlock", "pin", "code", "token", "key"];

#[cfg(test)]
mod tests {
    use super::*;

    fn question(text: &str) -> Question {
        let mut seen = RecentText::default();
        // The size of the pieces does not matter.
        text.as_bytes().chunks(3).for_each(|piece| seen.push(piece));
        seen.question(&Questions::new())
    }

    #[test]
    fn a_question_is_what_the_text_ends_with_and_nothing_else() {
        use Question::{Login, NewPassword, Nothing, Password, Prompt, Secret, TornPassword};
        for (text, stands) in [
            ("\r\nhost login: ", Login),
            ("my-password-host login: ", Login),
            ("\x1b[?2004l\x1b[1mhost\x1b[0m login: \x1b[6n", Login),
            ("Last login: Tue Nov 28 03:39:41 on ttyS0", Nothing),
            ("Last login: Tue Nov 28 03:39:41 on ttyS0\r\n", Nothing),
            ("host login: root (automatic login)\r\n", Nothing),
            ("host login: root", Nothing),
            ("host login: \r\n", Nothing),
            ("host log[ ok ] Started a daemon.\r\nin: ", Nothing),
            ("login: root\r\nPassword: ", Password),
            ("(LDAP) Password for root: ", Password),
            ("The default password: cirros", Nothing),
            ("Pass[ ok ] Started a daemon.\r\nword: ", TornPassword),
            ("Passwor[ ok ] Started a daemon.\r\nd: ", TornPassword),
            // It may also be the rest of the question for a name.
            ("\r\n: ", Nothing),
            ("Typing slowly: ", Nothing),
            ("Current password: ", NewPassword),
            ("Enter new UNIX password: ", NewPassword),
            ("Please unlock disk sda3_crypt: ", Secret),
            ("Verification code: ", Secret),
            ("~ # ", Prompt),
            ("#", Prompt),
            ("\x1b[?2004h\x1b[1;32mroot@host\x1b[0m:~\x1b[0m$ ", Prompt),
            ("~ # \x1b[6n", Prompt),
            ("fsck: 45%", Prompt),
            ("a banner\r\n##########", Nothing),
            ("~ # \r\n", Nothing),
            ("", Nothing),
        ] {
            assert_eq!(question(text), stands, "{text:?}");
        }
    }

    #[test]
    fn a_pattern_of_the_caller_s_stands_whatever_is_left_out_of_it() {
        let text = "\r\n\x1b[1mUser name\x1b[0m: ";
        for (pattern, is_there) in [
            (Pattern::literal("name"), true),
            (Pattern::literal("User name: "), true),
            (Pattern::literal("name\x1b[0m:"), true),
            (Pattern::regex("(?m)^User name: $").unwrap(), true),
            (Pattern::literal("User"), false),
        ] {
            let mut questions = Questions::new();
            questions.login = pattern.clone();
            let mut seen = RecentText::default();
            seen.push(text.as_bytes());
            let asks = seen.question(&questions) == Question::Login;
            assert_eq!(asks, is_there, "{pattern}");
        }
    }

    #[test]
    fn a_verdict_is_a_line_of_its_own() {
        use Verdict::{AccountExpired, PasswordExpired, Refused};
        for (line, says) in [
            ("Login incorrect", Some(Refused)),
            ("login: Permission denied\r", Some(Refused)),
            ("Authentication failure", Some(Refused)),
            ("sshd[12]: authentication failure; user=root", None),
            ("-bash: /etc/profile: Permission denied", None),
            (
                "You are required to change your password immediately (administrator enforced).",
                Some(PasswordExpired),
            ),
            ("You are required to change your password every year", None),
            ("WARNING: Your password has expired.", Some(PasswordExpired)),
            (
                "Your account has expired; please contact your system administrator.",
                Some(AccountExpired),
            ),
            ("Last login: Tue Nov 28 03:39:41 on ttyS0", None),
            ("", None),
        ] {
            assert_eq!(verdict(line.as_bytes()), says, "{line}");
        }
    }

    #[test]
    fn little_is_kept_however_much_comes() {
        let mut seen = RecentText::default();
        for _ in 0..100 {
            seen.push(&[b'x'; 1000]);
        }
        assert_eq!(seen.tail.len(), KEPT_BYTES);
        assert!(seen.has_answer() && !seen.has_passed(&Pattern::literal("y")));
        seen.typed();
        assert!(!seen.has_answer() && !seen.has_passed(&Pattern::literal("x")));
    }
}
