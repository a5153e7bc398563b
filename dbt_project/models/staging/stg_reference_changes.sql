with

source as (

    select * from {{ source('lake', 'reference_changes') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        reference_id,

        ---------- text
        change,
        reason,
        words,
        segment,
        text,

        ---------- numerics
        rank,
        rank_before,

        ---------- dates
        cycle,
        since,
        source_cycle

    from source

)

select * from renamed
