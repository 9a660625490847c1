// Sample-specific Bayesian networks (NOTMAD); nodes are Booleans, by a logistic link.
//
// A sample i has a context C_i. Its network W_i, whose entry [a, b] is the edge from node a to node b, is a mixture of
// archetypes with weights that follow from the context, and nodes follow from those before them in one order:
//
//   w_ke ~ Laplace(0, 1 / beta), the edges of archetype k; all ordered pairs of nodes
//   (N(0, required_sd^2) where rule requires the edge; without effect where it forbids it)
//   f(c) = intercept + c slope, each N(0, tau^2)
//   Z_i = softmax(f(C_i)),  W_i = sum_k Z_ik W_k
//   eta_ij = level_j + mean_intercept_j + sum_a g(x_ia) W_i[a, j],  mean_intercept ~ N(0, tau_mean^2)
//   x_ij ~ Bernoulli(logit^-1(eta_ij)),  g(x_ia) = x_ia - logit^-1(level_a)
//
// Edges lead to nodes of a higher position, so that networks are acyclic; alpha and gamma are not used.
//
// Archetypes are exchangeable: read W_i, or relabel.
//
// Units: weights and predictors are log odds.
// Source: Lengerich et al., NOTMAD (2021), arXiv 2111.01104.
functions {
  #include notmad.stanfunctions
}
data {
  int<lower=1> sample;
  int<lower=1> node;
  int<lower=1> covariate;
  int<lower=1> archetype;
  int<lower=1> source; // as many as nodes
  int<lower=1> n_target; // as many as nodes
  int<lower=1> edge;
  matrix[sample, covariate] context; // C, in any units
  vector[covariate] context_mean; // what covariates are centred by
  vector<lower=0>[covariate] context_sd; // what they are divided by
  real<lower=0> alpha; // not used
  real<lower=0> gamma; // not used
  array[source, n_target] int<lower=-1, upper=1> rule; // of an edge: -1 forbidden, 1 required
  real<lower=0> beta; // rate of the Laplace prior of the edges
  real<lower=0> required_sd; // prior standard deviation of required edges
  real<lower=0> tau; // prior standard deviation of the encoder's parameters
  vector[node] position; // places of the nodes in their order
  vector[node] level; // link of each node's mean over samples
  real<lower=0> tau_mean; // prior standard deviation of the mean's parameters
  array[sample, node] int<lower=0, upper=1> x;
}
transformed data {
  matrix[sample, covariate] c = (context - rep_matrix(context_mean', sample))
                                ./ rep_matrix(context_sd', sample);
  array[2, edge] int place = places(node, edge, 0);
  array[edge] int kind = forward_rules(rule, place, position);
  row_vector[edge] allowed = allowed_edges(kind);
  matrix[sample, node] passed; // what nodes hand on to their children
  array[node] int along = sort_indices_asc(position);
  for (i in 1 : sample) {
    for (j in 1 : node) {
      passed[i, j] = x[i, j] - inv_logit(level[j]);
    }
  }
}
parameters {
  matrix[archetype, edge] edge_weight; // weights of the edges
  vector[archetype] intercept; // logits at the mean context
  matrix[covariate, archetype] slope; // effects of covariates on logits
  vector[node] mean_intercept; // of the nodes' predictors
}
model {
  matrix[sample, archetype] logit = rep_matrix(intercept', sample) + c * slope;
  matrix[archetype, edge] w = edge_weight .* rep_matrix(allowed, archetype);
  matrix[sample, node] eta = rep_matrix((level + mean_intercept)', sample)
                             + from_parents(passed, logit, w, place, sample,
                                            node, archetype);
  target += edges_lpdf(edge_weight | kind, beta, required_sd);
  target += normal_lpdf(intercept | 0, tau);
  target += normal_lpdf(to_vector(slope) | 0, tau);
  target += normal_lpdf(mean_intercept | 0, tau_mean);
  for (i in 1 : sample) {
    target += bernoulli_logit_lpmf(x[i] | eta[i]);
  }
}
generated quantities {
  vector[sample] log_lik; // log probability of a sample
  array[sample, node] int x_rep; // replicated data
  {
    matrix[sample, archetype] logit = rep_matrix(intercept', sample)
                                      + c * slope;
    matrix[archetype, edge] w = edge_weight .* rep_matrix(allowed, archetype);
    row_vector[node] base = (level + mean_intercept)';
    for (i in 1 : sample) {
      matrix[node, node] W = mixture(softmax(logit[i]'), w, place, node);
      row_vector[node] eta = base;
      log_lik[i] = bernoulli_logit_lpmf(x[i] | base + passed[i] * W);
      for (j in along) {
        x_rep[i, j] = bernoulli_logit_rng(fmax(-20, fmin(20, eta[j])));
        eta += (x_rep[i, j] - inv_logit(level[j])) * W[j];
      }
    }
  }
}
