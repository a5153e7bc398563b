with

source as (

    select * from {{ source('lake', 'reviews') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        output_id,
        batch_id,

        ---------- text
        reviewer,
        decision,
        final_text,
        comment,

        ---------- numerics
        edit_similarity,
        source_row,

        ---------- dates
        cycle,
        reviewed_on,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
