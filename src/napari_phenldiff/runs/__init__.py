"""A fine-tuning as a folder that others can watch, and as a process that can be stopped.

The run folder is the contract between whoever trains (``phenldiff train``) and whoever looks on
(the widgets, a second terminal, another machine that sees the same disk)::

    RUN/
      config.json       what was asked for, intensity scaling, channel names, versions
      images.json       the images trained on: condition, name, hash of the pixels, path
      images/           those images that had no file, written when the run was made
      events.jsonl      one event a line, appended while training
      run.lock          present while somebody trains
      stop              present while somebody wants training to stop
      checkpoints/      step_000100/, step_000200/: what resuming needs, the last two
      adapter/          the result: what translating needs
      train.log         what the training process printed
      note.txt          what somebody wrote down about it
"""
