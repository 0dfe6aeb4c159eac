//! Views on a terminal: pages that are redrawn in place, on a pseudo-terminal of a known size,
//! and in tmux.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::common::terminal::{HEIGHT, Shown, WIDTH, pages, plain};
use crate::common::tool::{INTERVAL, binary};
use crate::common::{Kind, Leaker, not_possible, wait_until};

#[test]
fn watch_redraws_one_page_in_place() {
    let mut first = Leaker::listening();
    let mut others = [first.start_beside(), first.start_beside()];
    first.plant(Kind::EofRead, 500);
    for other in &mut others {
        other.listen("v4");
        other.plant(Kind::EofRead, 500);
    }
    let netns = first.netns.to_string();
    let arguments = ["watch", "--interval", INTERVAL, "--netns", &netns];
    let Some(mut watch) = Shown::start(&arguments, true) else {
        return not_possible("terminal::watch", "no pseudo-terminals");
    };
    watch.until("five pages", |text| pages(text).len() > 5);
    let (code, text) = watch.stop();
    // 4: a machine that is busy leaves scans no budget.
    assert!(matches!(code, Some(1 | 4)), "{code:?}: {text:?}");
    let pages = pages(&text);
    for (at, page) in pages.iter().enumerate() {
        assert!(page.len() < 4_096, "{} bytes: {page:?}", page.len());
        let lines: Vec<_> = page.lines().map(plain).collect();
        assert_eq!(lines.len(), usize::from(HEIGHT) - 1, "page {at} of {text:?}");
        for line in &lines {
            assert!(line.chars().count() <= usize::from(WIDTH), "{line:?}");
        }
        for leaker in [&first, &others[0], &others[1]] {
            let who = format!(" leaker[{}]", leaker.pid);
            let line = lines.iter().find(|line| line.contains(&who)).unwrap();
            assert!(line.trim_start().starts_with("500 "), "{line}");
        }
        let rows = lines.iter().filter(|line| line.ends_with(" eof-read")).count();
        let more = format!("… 1,{} more: -a shows all", 500 - rows);
        assert!(lines.contains(&more), "{more} in {page}");
    }
    // Each went up by as many lines as the one before had.
    let up = format!("\x1b[{}A\r", usize::from(HEIGHT) - 1);
    assert_eq!(text.matches(&up).count(), pages.len() - 1, "{text:?}");
}

/// Ctrl-Z, something else, and `fg`: what was written meanwhile stays, and the next page is below it.
#[test]
fn a_page_after_a_stop_replaces_nothing() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 3);
    let netns = leaker.netns.to_string();
    let arguments = ["watch", "--interval", INTERVAL, "--netns", &netns];
    let Some(mut watch) = Shown::start(&arguments, true) else {
        return not_possible("terminal::stop", "no pseudo-terminals");
    };
    watch.until("two pages", |text| pages(text).len() > 2);
    let titles = |page: &str| page.matches("LEAKED ").count();
    assert!(pages(&watch.text()).iter().all(|page| titles(page) <= 1), "{}", watch.text());
    watch.signal(Signal::SIGSTOP);
    watch.signal(Signal::SIGCONT);
    watch.until("a page below the last", |text| pages(text).iter().any(|page| titles(page) == 2));
    let before = pages(&watch.text()).len();
    watch.until("pages in place again", |text| pages(text).len() > before + 2);
    assert!(matches!(watch.stop().0, Some(1 | 4)));
}

#[test]
fn a_status_says_that_nothing_is_leaked_and_goes_when_something_is() {
    let mut leaker = Leaker::listening();
    let netns = leaker.netns.to_string();
    let arguments = ["watch", "--interval", INTERVAL, "--netns", &netns];
    let Some(mut watch) = Shown::start(&arguments, true) else {
        return not_possible("terminal::status", "no pseudo-terminals");
    };
    let status = "nothing leaked (filtered, ";
    watch.until("a status in place", |text| text.matches(status).count() > 2);
    let text = watch.text();
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("watching ") && first.contains(" TCP sockets: "), "{text:?}");
    let leak = leaker.leak();
    watch.until("the leak", |text| text.contains(&leak.remote));
    let text = watch.text();
    let last = *pages(&text).last().unwrap();
    assert!(!last.contains("watching "), "the status is gone: {last:?}");
    leaker.close(leak.fd());
    let seen = text.len();
    watch.until("the status again", |text| text[seen..].contains(status));
    assert!(matches!(watch.stop().0, Some(0 | 4)));
}

#[test]
fn stdout_stays_silent_while_nothing_is_leaked() {
    let leaker = Leaker::listening();
    let netns = leaker.netns.to_string();
    let arguments = ["watch", "--interval", INTERVAL, "--count", "3", "--netns", &netns];
    let Some(mut watch) = Shown::start(&arguments, false) else {
        return not_possible("terminal::silent", "no pseudo-terminals");
    };
    let (code, text) = watch.rest();
    assert_eq!(text, "");
    assert!(matches!(code, Some(0 | 4)), "{code:?}");
}

#[test]
fn list_shows_a_summary_first_and_as_many_rows_as_fit() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 100);
    let netns = leaker.netns.to_string();
    let shown = |more: &[&str]| {
        let arguments = [&["list", "--netns", &netns][..], more].concat();
        let (code, text) = Shown::start(&arguments, true)?.rest();
        assert_eq!(code, Some(1), "{text}");
        Some(text.lines().map(plain).collect::<Vec<_>>())
    };
    let Some(page) = shown(&[]) else {
        return not_possible("terminal::list", "no pseudo-terminals");
    };
    let rows = |lines: &[String]| lines.iter().filter(|line| line.ends_with(" eof-read")).count();
    assert_eq!(page.len(), usize::from(HEIGHT) - 1, "{page:?}");
    assert!(page[0].starts_with("LEAKED "), "{page:?}");
    assert!(page[1].contains(&format!(" leaker[{}]", leaker.pid)), "{page:?}");
    assert!(page.contains(&format!("… {} more: -a shows all", 100 - rows(&page))), "{page:?}");
    assert_eq!(rows(&shown(&["-a"]).unwrap()), 100);
    assert_eq!(rows(&shown(&["-n", "50"]).unwrap()), 50);
    assert_eq!(rows(&shown(&["--summary"]).unwrap()), 0);
    let json = shown(&["-j"]).unwrap();
    assert_eq!(json.len(), 1, "JSON is whole");
    assert_eq!(json[0].matches("\"eof-read\"").count(), 100);
}

/// A session of tmux, which ends with its test.
struct Tmux(String);

impl Tmux {
    fn start(command: &str) -> Option<Self> {
        let name = format!("sockleak-test-{}", std::process::id());
        let tmux = Self(name);
        let start = ["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", command];
        let started = tmux.command(&start).output().ok()?;
        assert!(started.status.success(), "{started:?}");
        Some(tmux)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.0]).args(arguments).env("LC_ALL", "C.UTF-8");
        command
    }

    fn screen(&self) -> Vec<String> {
        let shown = self.command(&["capture-pane", "-p"]).output().unwrap();
        String::from_utf8(shown.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// How many lines have scrolled out of sight.
    fn scrolled(&self) -> String {
        let history = self.command(&["display-message", "-p", "#{history_size}"]).output().unwrap();
        String::from_utf8(history.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).status();
    }
}

/// A real terminal: nothing scrolls, one page is there, and it follows the terminal's size.
#[test]
fn in_tmux_the_page_follows_the_size_of_the_terminal() {
    let mut leaker = Leaker::listening();
    leaker.plant(Kind::EofRead, 100);
    let command = format!(
        "{} watch --interval {INTERVAL} --netns {}",
        binary().canonicalize().unwrap().display(),
        leaker.netns
    );
    let Some(tmux) = Tmux::start(&command) else {
        return not_possible("terminal::tmux", "no tmux");
    };
    let is_page = |width: usize, height: usize| {
        let screen = tmux.screen();
        let filled = screen.iter().filter(|line| !line.is_empty()).count();
        let titles = screen.iter().filter(|line| line.starts_with("LEAKED ")).count();
        titles == 1
            && filled == height - 1
            && screen[0].ends_with('Z')
            && screen.iter().all(|line| line.chars().count() <= width)
    };
    wait_until("a page of 80×24", || is_page(80, 24));
    let first = tmux.screen()[0].clone();
    wait_until("the next page", || is_page(80, 24) && tmux.screen()[0] != first);
    assert_eq!(tmux.scrolled(), "0", "nothing scrolls");
    for (width, height) in [(120, 40), (60, 12), (80, 24)] {
        let size = ["-x", &width.to_string(), "-y", &height.to_string()].map(str::to_owned);
        let resize = ["resize-window", &size[0], &size[1], &size[2], &size[3]];
        assert!(tmux.command(&resize).status().unwrap().success());
        wait_until("a page of another size", || is_page(width, height));
    }
}
