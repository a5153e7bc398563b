with

source as (

    select * from {{ source('lake', 'guardrail_scores') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        output_id,
        brief_id,
        threshold_version,

        ---------- text
        segment,
        metric,
        better,
        verdict,
        floor_decision,
        decision,
        reason,

        ---------- numerics
        exposure,
        observed,
        posterior_mean,
        lower,
        upper,
        limit_value,
        p_within,

        ---------- booleans
        is_veto,
        is_mature,

        ---------- dates
        cycle

    from source

)

select * from renamed
