with

source as (

    select * from {{ source('lake', 'reviewed_outputs') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        output_id,

        ---------- text
        decision,
        reviewer,
        final_text,
        comment,

        ---------- numerics
        edit_similarity,

        ---------- dates
        cycle,

        ---------- timestamps
        known_at

    from source

)

select * from renamed
