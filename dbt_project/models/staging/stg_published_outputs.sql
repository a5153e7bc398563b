with

source as (

    select * from {{ source('lake', 'published_outputs') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        output_id,
        brief_id,

        ---------- text
        arm,
        segment,
        text,
        choice,

        ---------- numerics
        predicted,
        weight,
        probability,

        ---------- dates
        cycle

    from source

)

select * from renamed
