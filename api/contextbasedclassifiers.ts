// context-based-classifier: a fast classifier on a frozen base, whose embeddings are computed once for each dataset.

import type { Defaults, Revisions } from "./template.ts";

const defaults: Defaults = {
  optimizer: "SGD",
  rate: { spelling: "lrate", value: 0.1 },
  hyperparameters: { batch_size: 64, logreg: true, num_epochs: 100, weight_decay: 1e-4, seed: 0 },
};

const linear: Revisions = [
  {
    type: "context-based-classifier",
    bases: ["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"],
    maxBatchSize: 1024,
    memory: "4Gi",
    pretrained: defaults,
    scratch: defaults,
  },
];

export const contextBasedClassifiers = { "context-based-classifier/linear": linear } as const;
