with

source as (

    select * from {{ source('lake', 'prompt_gate') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        frame_version,
        compared_with,
        predecessor_version,

        ---------- text
        role,
        decision,
        reason,
        metric,

        ---------- numerics
        n_cycles,
        n_briefs,
        n_briefs_other,
        estimate,
        lower,
        upper,
        evidence,
        needed,
        alpha,
        n_trials,
        n_guards,
        trial_error_returned,
        guard_error_returned,

        ---------- dates
        cycle,
        since,

        ---------- lists
        sums,
        tried

    from source

)

select * from renamed
