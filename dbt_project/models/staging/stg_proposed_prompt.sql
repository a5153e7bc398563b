with

source as (

    select * from {{ source('lake', 'proposed_prompt') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        frame_version,
        parent_version,

        ---------- text
        strategy,
        outcome,
        reason,
        model,
        dropped,

        ---------- numerics
        n_winners,
        n_losers,
        n_guidelines,
        n_dropped,
        n_requests,
        cost,

        ---------- dates
        cycle

    from source

)

select * from renamed
