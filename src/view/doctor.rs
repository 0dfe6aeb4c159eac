//! A diagnosis of the host, for people.

use std::io::{self, Write};

use crate::doctor::{Diagnosis, SelfTest, Status};

const SELF_TEST: &str = "self-test";

/// Writes a diagnosis.
///
/// # Errors
/// Where `out` does not take it.
pub fn render(diagnosis: &Diagnosis, out: &mut impl Write) -> io::Result<()> {
    let names = diagnosis.checks.iter().map(|check| check.name.len());
    let width = names.chain([SELF_TEST.len()]).max().unwrap_or(0);
    for check in &diagnosis.checks {
        let status = check.status.name();
        writeln!(out, "{status:7} {:width$} {}", check.name, check.detail)?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "{:7} {:width$} {remedy}", "", "remedy:")?;
        }
    }
    let test = &diagnosis.self_test;
    let status = match test.passed() {
        true => Status::Ok,
        false => Status::Missing,
    };
    write!(out, "{:7} {:width$} ", status.name(), SELF_TEST)?;
    outcome(test, out)
}

fn outcome(test: &SelfTest, out: &mut impl Write) -> io::Result<()> {
    if let Some(error) = &test.error {
        return writeln!(out, "{error}");
    }
    let place = match test.own_network_namespace {
        true => "a network namespace of its own",
        false => "the present network namespace",
    };
    write!(
        out,
        "found {} of {} verdicts planted in {place}, {} with a wrong owner, in {:.3} s",
        test.found, test.planted, test.wrong_owners, test.seconds
    )?;
    if !test.not_found.is_empty() {
        let names: Vec<_> = test.not_found.iter().map(ToString::to_string).collect();
        write!(out, "; not found: {}", names.join(", "))?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Check;
    use crate::sock::leak::Verdict;
    use crate::view::json;

    fn diagnosis() -> Diagnosis {
        let check = |name, status, detail: &str, remedy: Option<&str>| Check {
            name,
            status,
            detail: detail.into(),
            remedy: remedy.map(str::to_owned),
        };
        Diagnosis {
            schema: 1,
            kernel: "6.1.0".into(),
            arch: "x86_64".into(),
            checks: vec![
                check("kernel", Status::Ok, "Linux 6.1.0, x86_64", None),
                check("bpf_loop", Status::Limited, "short walks", Some("use a newer kernel")),
                check("btf", Status::Missing, "none", Some("use --btf")),
            ],
            self_test: SelfTest {
                planted: 5,
                found: 3,
                not_found: vec![Verdict::Reset, Verdict::Stalled],
                wrong_owners: 1,
                seconds: 0.1204,
                own_network_namespace: true,
                error: None,
            },
        }
    }

    fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text() {
        let expected = "\
ok      kernel    Linux 6.1.0, x86_64
limited bpf_loop  short walks
        remedy:   use a newer kernel
missing btf       none
        remedy:   use --btf
missing self-test found 3 of 5 verdicts planted in a network namespace of its own, 1 with a wrong owner, in 0.120 s; not found: reset, stalled
";
        assert_eq!(written(|out| render(&diagnosis(), out)), expected);
        let mut broken = diagnosis();
        broken.self_test.error = Some("cannot".into());
        let text = written(|out| render(&broken, out));
        assert!(text.ends_with("missing self-test cannot\n"), "{text}");
    }

    /// The runner of the virtual machines reads this.
    #[test]
    fn json() {
        let expected = concat!(
            r#"{"schema":1,"kernel":"6.1.0","arch":"x86_64","checks":["#,
            r#"{"name":"kernel","status":"ok","detail":"Linux 6.1.0, x86_64","remedy":null},"#,
            r#"{"name":"bpf_loop","status":"limited","detail":"short walks","#,
            r#""remedy":"use a newer kernel"},"#,
            r#"{"name":"btf","status":"missing","detail":"none","remedy":"use --btf"}],"#,
            r#""self_test":{"planted":5,"found":3,"not_found":["reset","stalled"],"wrong_owners":1,"seconds":0.1204,"#,
            r#""own_network_namespace":true,"error":null}}"#,
            "\n"
        );
        assert_eq!(written(|out| json::render(&diagnosis(), out)), expected);
    }

    #[test]
    fn fit_is_whoever_finds_everything_and_misses_nothing() {
        let mut host = diagnosis();
        assert!(!host.is_fit());
        host.checks.pop();
        assert!(!host.is_fit(), "the self-test has failed");
        host.self_test.found = 5;
        assert!(!host.is_fit(), "somebody is wronged");
        host.self_test.wrong_owners = 0;
        assert!(host.is_fit(), "limits are no obstacle");
    }
}
