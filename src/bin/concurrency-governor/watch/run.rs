//! Runs `watch`.

use std::io::{self, ErrorKind, IsTerminal as _, StdoutLock, Write};
#[cfg(unix)]
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anstream::{AutoStream, ColorChoice};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::force_color_output;
#[cfg(unix)]
use nix::errno::Errno;
#[cfg(unix)]
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::args::WatchArgs;
use super::diagnosis::{self, DiagnosisError};
use super::history::{OtherRows, RowUpdate, WatchHistory};
use super::ledgers::LedgerPoll;
use super::screen::ScreenStyles;
use super::terminal::WatchTerminal;
use super::{lines, screen};
use crate::output::ErrorLines;
use crate::report::{HostReport, LedgerPolicy, ReportError};

#[cfg(unix)]
use super::signals;

/// Refreshes readings and limits until the user quits: on a screen if there is a terminal, else line by line.
///
/// # Errors
///
/// [`WatchCommandError`] if the plan is wrong at the start, or the output cannot be written.
pub(crate) fn run(args: &WatchArgs) -> Result<(), WatchCommandError> {
    // The first report comes before the screen, so that an error of the plan is printed as a line.
    let session = WatchSession::start(args)?;
    let result = if can_draw_screen() { run_on_screen(session) } else { run_in_lines(session) };
    match result {
        // The reader closed the pipe, as `head` does. It does not want more output, which is not an error.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// The state of `watch`: its arguments, the values so far, and the queries of ledgers.
struct WatchSession<'a> {
    args: &'a WatchArgs,
    history: WatchHistory,
    ledgers: LedgerPoll,
}

impl<'a> WatchSession<'a> {
    /// Measures and resolves for the first time.
    fn start(args: &'a WatchArgs) -> Result<Self, WatchCommandError> {
        let report = HostReport::with_pressures(&args.input)?;
        let policy = if args.no_ledger { LedgerPolicy::Skip } else { LedgerPolicy::Ask };
        let mut ledgers = LedgerPoll::new(policy);
        let others = OtherRows { shared: ledgers.refresh(&report), holders: read_holders(args)? };
        let history = WatchHistory::new(&report, others, seconds_since_midnight());
        Ok(Self { args, history, ledgers })
    }

    /// Measures and resolves again. An error is recorded as a change.
    fn refresh(&mut self) {
        let measured = HostReport::with_pressures(&self.args.input).map_err(WatchCommandError::from);
        match measured.and_then(|report| Ok((report, read_holders(self.args)?))) {
            Ok((report, holders)) => {
                let others = OtherRows { shared: self.ledgers.refresh(&report), holders };
                self.history.update(&report, others, seconds_since_midnight());
            }
            Err(error) => self.history.fail(error.lines(), seconds_since_midnight()),
        }
    }
}

/// Returns `true` if output and input are a terminal that can move its cursor.
fn can_draw_screen() -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && io::stdin().is_terminal() && !is_dumb
}

fn run_on_screen(session: WatchSession<'_>) -> io::Result<()> {
    let styles = match AutoStream::choice(&io::stdout()) {
        ColorChoice::Never => ScreenStyles::plain(),
        _ => ScreenStyles::coloured(),
    };
    // `styles` follows `--color` and `NO_COLOR`. crossterm must not apply `NO_COLOR` again, against `--color always`.
    force_color_output(true);
    let mut terminal = WatchTerminal::open()?;
    #[cfg(unix)]
    signals::restore_terminal_on_signals()?;
    run_event_loop(session, &mut terminal, styles)
}

/// Draws, waits for a key or the next refresh, and repeats.
fn run_event_loop(
    mut session: WatchSession<'_>,
    terminal: &mut WatchTerminal,
    styles: ScreenStyles,
) -> io::Result<()> {
    let args = session.args;
    let start = Instant::now();
    let mut refreshed = start;
    loop {
        let size = WatchTerminal::size()?;
        terminal.draw(size, screen::render(&session.history, args.every, styles, size))?;
        let until_refresh = args.every.saturating_sub(refreshed.elapsed());
        let until_end = args.length.map(|length| length.saturating_sub(start.elapsed()));
        if until_end == Some(Duration::ZERO) {
            return Ok(());
        }
        if event::poll(until_end.map_or(until_refresh, |until_end| until_end.min(until_refresh)))? {
            match key_action(&event::read()?) {
                Some(KeyAction::Quit) => return Ok(()),
                #[cfg(unix)]
                Some(KeyAction::Suspend) => signals::suspend(terminal)?,
                None => {}
            }
        } else if refreshed.elapsed() >= args.every {
            refreshed = Instant::now();
            session.refresh();
        }
    }
}

/// The action of a key.
enum KeyAction {
    Quit,
    /// Returns to the shell until it continues the program.
    #[cfg(unix)]
    Suspend,
}

fn key_action(event: &Event) -> Option<KeyAction> {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else { return None };
    match code {
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(KeyAction::Quit),
        // In raw mode the terminal sends these as keys, not as signals.
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(KeyAction::Quit),
        #[cfg(unix)]
        KeyCode::Char('z') if modifiers.contains(KeyModifiers::CONTROL) => Some(KeyAction::Suspend),
        _ => None,
    }
}

/// Prints all values once, and then the changes after each refresh.
fn run_in_lines(mut session: WatchSession<'_>) -> io::Result<()> {
    let args = session.args;
    let mut stdout = io::stdout().lock();
    let start = Instant::now();
    stdout.write_all(lines::all_values(&session.history).as_bytes())?;
    stdout.flush()?;
    let mut printed = 0;
    loop {
        let until_end = args.length.map_or(Duration::MAX, |length| length.saturating_sub(start.elapsed()));
        if until_end.is_zero() {
            return Ok(());
        }
        if is_reader_gone_after(&stdout, args.every.min(until_end))? {
            return Ok(());
        }
        session.refresh();
        let changes = lines::new_changes(&session.history, printed);
        printed = session.history.total_changes();
        stdout.write_all(changes.as_bytes())?;
        stdout.flush()?;
    }
}

/// Waits for this time. Returns `true` as soon as no process reads standard output any more, as after `watch | head -1`:
/// the next change may come much later, or never.
#[cfg(unix)]
fn is_reader_gone_after(stdout: &StdoutLock<'_>, time: Duration) -> io::Result<bool> {
    let start = Instant::now();
    loop {
        let left = time.saturating_sub(start.elapsed());
        // Rounded up, so that the loop does not spin in the last millisecond.
        let timeout = PollTimeout::try_from(left.saturating_add(Duration::from_micros(999)))
            .unwrap_or(PollTimeout::MAX);
        // No event is requested: the kernel always reports a pipe without a reader, and a terminal that was closed.
        match poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::empty())], timeout) {
            Ok(0) | Err(Errno::EINTR) if start.elapsed() >= time => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "on Unix, the wait may fail")]
fn is_reader_gone_after(_: &StdoutLock<'_>, time: Duration) -> io::Result<bool> {
    std::thread::sleep(time);
    Ok(false)
}

/// Reads the diagnosis, if there is one.
fn read_holders(args: &WatchArgs) -> Result<Vec<RowUpdate>, DiagnosisError> {
    args.diagnosis.as_deref().map_or_else(|| Ok(Vec::new()), diagnosis::read)
}

/// Returns the time of day in UTC. The local time would need a library for time zones.
fn seconds_since_midnight() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() % 86_400
}

impl WatchCommandError {
    /// Returns the error with each problem on a line of its own.
    pub(crate) fn lines(&self) -> ErrorLines {
        match self {
            Self::Report(error) => error.lines(),
            error @ (Self::Output(_) | Self::Diagnosis(_)) => ErrorLines::one(error),
        }
    }
}

/// The command ended with an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchCommandError {
    /// The plan, the environment or a setting is wrong.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The diagnosis of a process cannot be read.
    #[error(transparent)]
    Diagnosis(#[from] DiagnosisError),
    /// The terminal, the pipe or the file cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}
