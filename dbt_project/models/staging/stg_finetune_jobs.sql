with

source as (

    select * from {{ source('lake', 'finetune_jobs') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        submission,
        batch_id,
        training_file_id,
        validation_file_id,
        job_id,
        training_hash,
        validation_hash,

        ---------- text
        event,
        provider,
        method,
        base_model,
        tuned_model,
        error,

        ---------- numerics
        attempt,
        n_examples,
        source_row,

        ---------- dates
        set_cycle,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
