# The guests' results (slurped) → docs/kernels.md. No dates and no timings: the file changes only when
# what was seen changes.
def row(cells): "| " + (cells | join(" | ")) + " |";
def every(cell): map(cell | tostring);
def check(name): .doctor.checks // [] | map(select(.name == name)) | first;

. as $kernels
| [.[].doctor.checks // [] | .[].name] | reduce .[] as $name ([]; if index($name) then . else . + [$name] end)
| . as $names
| "# What works on which kernel",
  "",
  "Written by `make test-kernels` from what it saw: the root tests and `sockleak doctor`, from one static",
  "binary, on Debian's kernels in virtual machines. Do not edit.",
  "",
  row([""] + ($kernels | every(.kernel))),
  row(["---"] + ($kernels | every("---"))),
  row(["root tests passed"] + ($kernels | every(.passed))),
  row(["root tests failed"] + ($kernels | every(.failed))),
  row(["root tests not possible"] + ($kernels | every(.not_possible | length))),
  ($names[] | . as $name | row([$name] + ($kernels | every(check($name).status // "–")))),
  row(["self-test: found / planted"] + ($kernels | every(.doctor.self_test // {} | "\(.found // "–") / \(.planted // "–")"))),
  ( [ $kernels[] | .kernel as $kernel
      | (.doctor.checks // [] | .[] | select(.status != "ok") | "- \($kernel): \(.name) is \(.status): \(.detail)"),
        (.not_possible | group_by(.reason)[]
          | "- \($kernel): not possible (\(.[0].reason)): \(map(.test) | join(", "))") ]
    | if length > 0 then "", "## Why not", "", .[] else empty end )
