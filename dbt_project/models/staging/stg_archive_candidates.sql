with

source as (

    select * from {{ source('lake', 'archive_candidates') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        brief_id,
        candidate_id,
        batch_id,

        ---------- text
        segment,
        title,
        text,

        ---------- numerics
        source_row,

        ---------- dates
        cycle,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
