# A guest's log (raw, slurped) → what is known of that kernel. `exit` is null if the guest did not get there.
split("\n") as $lines
| def marked(name): first($lines[] | select(startswith("@ \(name) ")) | ltrimstr("@ \(name) ")) // null;
  [$lines[] | capture("^test result: .* (?<passed>\\d+) passed; (?<failed>\\d+) failed")
            | map_values(tonumber)] as $results
| [$lines[] | capture("not possible: (?<test>\\S+): (?<reason>.*)")] | unique_by(.test) as $not_possible
| (marked("doctor") | try fromjson catch null) as $doctor
| (marked("exit") | if . then tonumber else null end) as $exit
| ([$results[].failed] | add // 0) as $failed
| { kernel: marked("kernel"),
    exit: $exit,
    passed: (([$results[].passed] | add // 0) - ($not_possible | length)),
    # A test binary that died counts as one failure; it did not say how many. So does a silent doctor.
    failed: ((if $failed == 0 and $exit != 0 then 1 else $failed end)
             + (if $exit != null and $doctor == null then 1 else 0 end)),
    not_possible: $not_possible,
    doctor: $doctor }
