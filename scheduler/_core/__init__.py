"""The core: what happens to jobs and pools, without a clock, a thread, dice or a wire.

Theory of operation
    A job's main path is eight steps, each with its room: submit → admit (`gate`) → wait
    (`front_queue`) → route (`dispatcher`) → start (`pool_table`) → finish → back off (`retrier`,
    `timers`) → settle. `main_path` strings them together, `core` adds time, pools and the snapshot,
    `invariants` says what is true after every step.

    The shape is *poll*: methods in, small answers out. What a method leaves behind beside its answer
    is taken by the caller once per turn. There are no event or command objects on the hot path.

Laws of this room
    1. It never reads a clock: ``now`` comes in and never goes back.
    2. It never calls out, except to policies.
    3. It never rolls dice: a seeded source is handed in.
    4. Nothing depends on the order of a set, on ``id()`` or on ``hash()``.
    5. Every answer that costs work is bounded per turn.
    6. A policy that raises is contained; no job is lost to somebody's policy.

The same core runs under threads (`scheduler._driver`) and in virtual time (`scheduler.simulation`).
"""
