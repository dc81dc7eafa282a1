"""Many processes of threads and tasks on one file, some of them killed, and a look at the record.

`crew` starts and kills the workers, `worker` is one of them, `actions` and `work` are what an
`actor` does, `history` what they write down, `models` and `pool` what each call should have done,
`linearizability` and `verdict` compare the two, with `direct` and `logs` for what needs no search;
`afterwards` counts what the dead have left behind.
"""
