//! `watch`: the readings and the gates of a host, again and again.

mod history;
mod lines;
mod screen;
#[cfg(unix)]
mod signals;

use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anstream::{AutoStream, ColorChoice};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::style::force_color_output;

use crate::args::WatchArgs;
use crate::explain::{ExplainError, Report};

use history::History;
use screen::Styles;

/// Looks at the host until it is told to stop: on a screen where there is one, else line by line.
pub(crate) fn watch(args: &WatchArgs) -> Result<(), WatchError> {
    // What is wrong with the plan is told before the screen is taken.
    let report = Report::of_watched(&args.given)?;
    let history = History::new(&report, clock());
    let done = if has_screen() { on_screen(args, history) } else { line_by_line(args, history) };
    match done {
        // Who closes the pipe, as `head` does, has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// Whether there is a terminal to draw on, and keys to come from it. A dumb one can only print.
fn has_screen() -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && io::stdin().is_terminal() && !is_dumb
}

fn on_screen(args: &WatchArgs, mut history: History) -> io::Result<()> {
    let styles = match AutoStream::choice(&io::stdout()) {
        ColorChoice::Never => Styles::PLAIN,
        _ => Styles::COLOURED,
    };
    force_color_output(true); // what is to be coloured is decided, by whoever started this
    let mut terminal = ratatui::try_init()?; // and a panic gives the screen back
    #[cfg(unix)]
    signals::give_screen_back()?;
    let done = loop_on_screen(args, &mut history, &mut terminal, styles);
    done.and(ratatui::try_restore())
}

fn loop_on_screen(
    args: &WatchArgs,
    history: &mut History,
    terminal: &mut ratatui::DefaultTerminal,
    styles: Styles,
) -> io::Result<()> {
    let began = Instant::now();
    let mut looked = began;
    loop {
        terminal.draw(|frame| screen::draw(frame, history, args.every, styles))?;
        let rest = args.every.saturating_sub(looked.elapsed());
        let left = args.length.map(|length| length.saturating_sub(began.elapsed()));
        if left == Some(Duration::ZERO) {
            return Ok(());
        }
        if event::poll(left.map_or(rest, |left| left.min(rest)))? {
            match wish(&event::read()?) {
                Some(Wish::End) => return Ok(()),
                #[cfg(unix)]
                Some(Wish::Stop) => signals::stop(terminal)?,
                None => {}
            }
        } else if looked.elapsed() >= args.every {
            looked = Instant::now();
            look(args, history);
        }
    }
}

/// What a key was pressed for.
enum Wish {
    End,
    /// To have the shell back for a while.
    #[cfg(unix)]
    Stop,
}

fn wish(event: &Event) -> Option<Wish> {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else { return None };
    match code {
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Wish::End),
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::End),
        #[cfg(unix)]
        KeyCode::Char('z') if modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Stop),
        _ => None,
    }
}

fn line_by_line(args: &WatchArgs, mut history: History) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let began = Instant::now();
    stdout.write_all(lines::first(&history).as_bytes())?;
    stdout.flush()?;
    let mut told = 0;
    loop {
        let left = args.length.map_or(Duration::MAX, |length| length.saturating_sub(began.elapsed()));
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(args.every.min(left));
        look(args, &mut history);
        let news = lines::news(&history, told);
        told = history.changes_seen();
        stdout.write_all(news.as_bytes())?;
        stdout.flush()?;
    }
}

/// Measures and resolves anew. What goes wrong on the way is news, too.
fn look(args: &WatchArgs, history: &mut History) {
    match Report::of_watched(&args.given) {
        Ok(report) => history.take_in(&report, clock()),
        Err(error) => history.fault(&error.to_string(), clock()),
    }
}

/// The time of day in UTC, in seconds: what a log has, without a library for calendars.
fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() % 86_400
}

/// Why there is nothing to watch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    /// The plan, the environment or a setting is wrong.
    #[error(transparent)]
    Explain(#[from] ExplainError),
    /// The terminal, or what stands in for it, fails.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}
