"""Many processes of threads and tasks on one file, some of them killed, and a look at the record.

`crew` starts and kills the workers, `worker` is one of them, `actions` is what an `actor` does,
`history` what they write down, `models` what each call should have done, `linearizability` and
`verdict` compare the two, with `direct` and `logs` for what needs no search.
"""
