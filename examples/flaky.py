"""What goes wrong, and what becomes of it: a task that needs three tries, and one that fails for good.

    headway run examples/flaky.py       exits 1, as the run fails
    headway why RUN report              says which upstream it is for

`download` finds its place taken twice and succeeds at its third try. `convert` has no retries, so its failure is final:
what waits for it cannot run, and what does not wait for it ends as if nothing had happened.
"""

from headway import DAG, shell

with DAG("flaky", description="Retries and a failure", tags=["example"]) as dag:
    download = shell(
        "download",
        """
        echo "try $HEADWAY_TRY"
        if [ "$HEADWAY_TRY" -lt 3 ]; then echo "the server is busy" >&2; exit 1; fi
        """,
        retries=3,
        retry_delay="100ms",
    )
    count = shell("count", "echo 42 >$HEADWAY_OUTPUT")
    convert = shell("convert", "echo 'this format is not known' >&2; exit 3")
    report = shell("report", "echo never reached")
    download >> [count, convert]
    [count, convert] >> report
