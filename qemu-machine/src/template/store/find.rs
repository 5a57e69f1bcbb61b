//! Finds a template of a store by its name, or by the beginning of its key.

use std::io;
use std::time::SystemTime;

use super::{StoredTemplate, TemplateStore};
use crate::template::files::ASKED_FOR;
use crate::template::{Template, TemplateError, TemplateFacts};

impl TemplateStore {
    /// Finds a template by its key, by the beginning of its key (4 digits or
    /// more), or by the name of the machine that was frozen. Of several with one
    /// name, it is the last that was made, or found by
    /// [`template`](Self::template) instead of being made again. In a store that
    /// cannot be written, nothing is kept of the latter.
    ///
    /// # Errors
    /// [`TemplateError::NotFound`] has the names of those that are there. It
    /// fails also if several keys begin so.
    pub fn find(&self, name: &str) -> Result<StoredTemplate, TemplateError> {
        let templates = self.list()?;
        let facts = templates
            .iter()
            .map(|it| TemplateFacts::read(&it.path).ok());
        let facts: Vec<Option<TemplateFacts>> = facts.collect();
        let named = facts.iter().enumerate().filter_map(|(index, facts)| {
            let facts = facts.as_ref()?;
            let asked_for = asked_for(&templates[index]).unwrap_or(facts.made);
            (facts.name.as_deref() == Some(name)).then_some((asked_for, index))
        });
        let named = named.max().map(|(_, index)| &templates[index]);
        let mut keyed = templates.iter().filter(|it| begins(&it.key, name));
        let by_key = keyed.next().filter(|_| keyed.next().is_none());
        let found = named.or(by_key);
        found.cloned().ok_or_else(|| TemplateError::NotFound {
            name: name.to_owned(),
            store: self.directory.clone(),
            names: templates
                .iter()
                .zip(&facts)
                .map(|(it, facts)| match facts {
                    Some(TemplateFacts {
                        name: Some(name), ..
                    }) => name.clone(),
                    _ => it.key.clone(),
                })
                .collect(),
        })
    }
}

impl StoredTemplate {
    /// Opens the template, as the machine that was frozen.
    ///
    /// # Errors
    /// As for [`Template::open_as_frozen`].
    pub fn open(&self) -> Result<Template, TemplateError> {
        Template::open_as_frozen(&self.path)
    }
}

/// When a maker asked for it last.
fn asked_for(template: &StoredTemplate) -> io::Result<SystemTime> {
    template.path.join(ASKED_FOR).metadata()?.modified()
}

/// Whether this is a key, or the beginning of one.
fn begins(key: &str, name: &str) -> bool {
    name.len() >= 4 && key.starts_with(name)
}
