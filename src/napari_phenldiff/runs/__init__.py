"""Run folders, their configurations and events, and the processes that train.

The run folder is the interface between the process that trains (``phenldiff train``) and everything
that follows it (the widgets, a second terminal, another machine on the same disk)::

    RUN/
      config.json       configuration, intensity scaling, channel names, versions
      images.json       the training images: condition, name, hash of the pixels, path, and place
      images/           images that have no file of their own, written when the run was created
      events.jsonl      one event per line, appended during the training
      run.lock          present while a process trains
      stop              present when the training has been asked to stop
      checkpoints/      step_000100/, step_000200/: the last two checkpoints, for resuming
      adapter/          the result, which translating needs
      train.log         output of the training process
      note.txt          a note by the user
"""
