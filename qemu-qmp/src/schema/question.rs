//! Parses a question to a schema.

use std::error::Error;
use std::fmt;

use qemu_qmp_engine::error_text::Quoted;

use crate::error_kind::ErrorKind;

/// A question to a schema is malformed.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuestionError {
    /// The question.
    pub question: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for QuestionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { question, reason } = self;
        let question = Quoted(question);
        write!(f, "the question {question} is malformed: {reason}")
    }
}

impl Error for QuestionError {}

impl QuestionError {
    /// The kind of failure, to decide by: [`ErrorKind::InvalidInput`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

/// The name of a command or an event, and the steps from there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question<'a> {
    pub(super) entity: &'a str,
    pub(super) steps: Vec<Step<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// `arg-type`
    Arguments,
    /// `ret-type`
    Return,
    /// `name`, or `*name`
    Member { name: &'a str, optional: bool },
    /// `+name`
    Variant(&'a str),
    /// `^name`
    Value(&'a str),
    /// `!name`
    Json(&'a str),
    /// `$name`
    Feature(&'a str),
}

impl<'a> Question<'a> {
    pub(super) fn parse(question: &'a str) -> Result<Self, QuestionError> {
        let malformed = |reason: String| QuestionError {
            question: question.to_owned(),
            reason,
        };
        let mut words = question.split('/');
        let entity = words.next().unwrap_or_default();
        if !starts_a_name(entity) {
            let reason = "it must start with the name of a command or an event";
            return Err(malformed(reason.to_owned()));
        }
        let mut steps: Vec<Step<'a>> = Vec::new();
        for word in words {
            let step = if steps.is_empty() && !word.starts_with('$') {
                match word {
                    "arg-type" => Step::Arguments,
                    "ret-type" => Step::Return,
                    _ => {
                        return Err(malformed(format!(
                            "'{entity}' must be followed by arg-type, ret-type or $FEATURE, not by \
                             '{word}'"
                        )));
                    }
                }
            } else {
                Step::parse(word).map_err(malformed)?
            };
            match (steps.last(), step) {
                (Some(Step::Feature(_) | Step::Json(_)), _) => {
                    return Err(malformed(format!(
                        "'{word}' must not follow $FEATURE or !TYPE, which end a question"
                    )));
                }
                (Some(Step::Value(_)), step) if !matches!(step, Step::Feature(_)) => {
                    return Err(malformed(format!(
                        "'{word}' must not follow a value; only $FEATURE may"
                    )));
                }
                _ => steps.push(step),
            }
        }
        Ok(Self { entity, steps })
    }
}

impl<'a> Step<'a> {
    fn parse(word: &'a str) -> Result<Self, String> {
        let optional = |name| Step::Member {
            name,
            optional: true,
        };
        let plain = |name| Step::Member {
            name,
            optional: false,
        };
        let kinds: [(char, &dyn Fn(&'a str) -> Self); 6] = [
            ('*', &optional),
            (' ', &plain),
            ('+', &Step::Variant),
            ('^', &Step::Value),
            ('!', &Step::Json),
            ('$', &Step::Feature),
        ];
        for (sign, step) in kinds {
            match word.strip_prefix(sign) {
                Some("") => return Err(format!("there is no name after '{sign}'")),
                Some(name) => return Ok(step(name)),
                None => {}
            }
        }
        if starts_a_name(word) {
            Ok(plain(word))
        } else if word.is_empty() {
            Err("there is nothing between two slashes, or after the last".to_owned())
        } else {
            Err(format!(
                "'{word}' starts with an unknown sign; if it is a name, put a space before it"
            ))
        }
    }
}

fn starts_a_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_step_is_read() {
        let member = |name, optional| Step::Member { name, optional };
        let question = Question::parse("do-it/arg-type/a/*b/+c/ $d/3des/^e/$f").unwrap();
        assert_eq!(question.entity, "do-it");
        assert_eq!(
            question.steps,
            [
                Step::Arguments,
                member("a", false),
                member("b", true),
                Step::Variant("c"),
                member("$d", false),
                member("3des", false),
                Step::Value("e"),
                Step::Feature("f"),
            ]
        );
        let question = Question::parse("it/ret-type/!int").unwrap();
        assert_eq!(question.steps, [Step::Return, Step::Json("int")]);
        assert_eq!(Question::parse("it").unwrap().steps, []);
        assert_eq!(
            Question::parse("it/$f").unwrap().steps,
            [Step::Feature("f")]
        );
    }

    #[test]
    fn a_malformed_question_says_why() {
        for (question, reason) in [
            ("", "must start with the name of a command"),
            ("/arg-type", "must start with the name of a command"),
            ("$deprecated", "must start with the name of a command"),
            ("it/", "followed by arg-type, ret-type or $FEATURE"),
            ("it/driver", "followed by arg-type, ret-type or $FEATURE"),
            ("it/^value", "followed by arg-type, ret-type or $FEATURE"),
            ("it/arg-type//a", "nothing between two slashes"),
            ("it/arg-type/a/", "nothing between two slashes"),
            ("it/arg-type/+", "no name after '+'"),
            ("it/arg-type/#a", "'#a' starts with an unknown sign"),
            (
                "it/$f/arg-type",
                "'arg-type' must not follow $FEATURE or !TYPE",
            ),
            (
                "it/arg-type/!int/$f",
                "'$f' must not follow $FEATURE or !TYPE",
            ),
            ("it/arg-type/^v/a", "'a' must not follow a value"),
            (
                "it/arg-type/^v/$f/$g",
                "'$g' must not follow $FEATURE or !TYPE",
            ),
        ] {
            let error = Question::parse(question).unwrap_err();
            let told = error.to_string();
            let begins = format!("the question {} is malformed: ", Quoted(question));
            assert!(told.starts_with(&begins) && told.contains(reason), "{told}");
        }
    }
}
