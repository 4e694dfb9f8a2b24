"""A first DAG: two tasks greet, a third one adds up what they wrote."""  # noqa: INP001 - a DAG file stands alone

from headway import DAG, argv, shell

GREET = 'sleep "$HEADWAY_PARAM_seconds"; echo "$WORD, $HEADWAY_PARAM_name"; echo 1 >"$HEADWAY_OUTPUT"'

with DAG("hello", description="Greets twice and counts", params={"name": "world", "seconds": 1}) as dag:
    hello = shell("hello", GREET, env={"WORD": "Hello"})
    welcome = shell("welcome", GREET, env={"WORD": "Welcome"})
    argv("count", ["expr", hello.output, "+", welcome.output])
