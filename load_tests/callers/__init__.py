"""Load tests with Locust: hospital, telemedicine, back-fill and gRPC callers, every answer checked.

`python -m load_tests.callers --shape spike` does everything (docs/load-tests.md). From another
program, which has a service of its own running:

    from load_tests.callers.locust_run import Run, start
    from load_tests.callers.prepare import prepare

    films = prepare(folder / "films", host="http://127.0.0.1:3000")    # once; draws, asks each once
    process = start(
        Run(
            films=films,
            host="http://127.0.0.1:3000",       # several: separated by commas
            grpc="127.0.0.1:3001",              # several too
            shape="steady",                     # or a YAML file of one's own, see shapes/
            seconds=120,
            rate=20.0,                          # films a second at level 1, of all callers
            callers=("hospital", "telemedicine", "back-fill", "grpc", "oip"),
            retry_s=30.0,                       # what broke off, 502, 503 and 429 are asked again
            events=folder / "events.jsonl",     # a line a film, written when it is settled
            folder=folder,                      # report.html, Locust's CSV and log
        )
    )
    process.wait()
    events = load_tests.callers.events.read(folder / "events.jsonl")

`start` gives a `subprocess.Popen`; it runs `.envs/callers` of load_tests/peers/environments, so
that neither Locust's pytest plugin nor gevent's patching comes near the tests. SIGINT or SIGTERM
ends the load early and still writes everything.
"""
