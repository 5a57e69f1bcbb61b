//! Prints the warnings of the library. A failure often shows there first.

struct Printer;

impl log::Log for Printer {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("warning: {}", record.args());
        }
    }

    fn flush(&self) {}
}

/// Prints every warning from now on.
pub(crate) fn print() {
    // It fails only if a logger is already set.
    if log::set_logger(&Printer).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}
