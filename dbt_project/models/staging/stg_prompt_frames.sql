with

source as (

    select * from {{ source('lake', 'prompt_frames') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        frame_version,
        parent_version,
        batch_id,

        ---------- text
        author,
        author_name,
        template,
        guidelines,
        evidence,
        note,

        ---------- numerics
        source_row,

        ---------- dates
        proposed_for,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
