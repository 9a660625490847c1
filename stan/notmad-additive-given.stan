// Sample-specific Bayesian networks (NOTMAD); the encoder is a sum of small nets of one covariate each; the nodes come in topological order.
//
// A sample i has a context C_i. Its network W_i, whose entry [a, b] is the edge from node a to node b, is a mixture of
// archetypes with weights that follow from the context, and its nodes are a linear function of their parents:
//
//   w_ke ~ Laplace(0, 1 / beta), the edges of archetype k; only from a node to later ones
//   (N(0, required_sd^2) where rule requires the edge; without effect where it forbids it)
//   f(c) = intercept + sum_j sum_h tanh(c_j u_jh + v_jh) a_jh; intercept, u and v ~ N(0, tau^2),
//   a ~ N(0, tau^2 / H)
//   Z_i = softmax(f(C_i)),  W_i = sum_k Z_ik W_k
//   sigma_j ~ LogNormal(ln sigma0, sigma_spread) for each node j
//   x_i = eps_i (I - W_i)^-1,  eps_ij ~ N(0, sigma_j^2)
//
// Such networks are acyclic, and det(I - W) = 1; alpha and gamma are not used.
//
// Archetypes are exchangeable: read W_i, or relabel.
//
// Units: x as given (best standardised); sigma and the mean in those; all else has no unit.
// Source: Lengerich et al., NOTMAD (2021), arXiv 2111.01104.
functions {
  #include notmad.stanfunctions
}
data {
  int<lower=1> sample;
  int<lower=1> node;
  int<lower=1> covariate;
  int<lower=1> archetype;
  int<lower=1> neuron;
  int<lower=1> source; // as many as nodes
  int<lower=1> n_target; // as many as nodes
  int<lower=1> edge;
  matrix[sample, covariate] context; // C, in any units
  vector[covariate] context_mean; // what covariates are centred by
  vector<lower=0>[covariate] context_sd; // what they are divided by
  real<lower=0> alpha; // strength of the acyclicity potential on the samples' networks
  real<lower=0> gamma; // strength of that on the archetypes
  array[source, n_target] int<lower=-1, upper=1> rule; // of an edge: -1 forbidden, 1 required
  real<lower=0> beta; // rate of the Laplace prior of the edges
  real<lower=0> required_sd; // prior standard deviation of required edges
  real<lower=0> tau; // prior standard deviation of the encoder's parameters
  real<lower=0> sigma0; // prior median of sigma
  real<lower=0> sigma_spread; // prior standard deviation of ln sigma
  matrix[sample, node] x;
}
transformed data {
  matrix[sample, covariate] c = (context - rep_matrix(context_mean', sample))
                                ./ rep_matrix(context_sd', sample);
  array[2, edge] int place = places(node, edge, 1);
  array[edge] int kind = rules(rule, place);
  row_vector[edge] allowed = allowed_edges(kind);
}
parameters {
  matrix[archetype, edge] edge_weight; // weights of the edges
  vector[archetype] intercept; // logits at the mean context
  matrix[covariate, neuron] inner; // u
  matrix[covariate, neuron] inner_bias; // v
  array[covariate] matrix[neuron, archetype] outer; // a
  vector<lower=0>[node] sigma; // noise of each node
}
model {
  matrix[sample, archetype] logit = rep_matrix(intercept', sample);
  matrix[archetype, edge] w = edge_weight .* rep_matrix(allowed, archetype);
  target += lognormal_lpdf(sigma | log(sigma0), sigma_spread);
  target += edges_lpdf(edge_weight | kind, beta, required_sd);
  target += normal_lpdf(intercept | 0, tau);
  for (j in 1 : covariate) {
    logit += tanh(c[ : , j] * inner[j]
                  + rep_matrix(inner_bias[j], sample))
             * outer[j];
  }
  target += normal_lpdf(to_vector(inner) | 0, tau);
  target += normal_lpdf(to_vector(inner_bias) | 0, tau);
  for (j in 1 : covariate) {
    target += normal_lpdf(to_vector(outer[j]) | 0, tau / sqrt(neuron));
  }
  matrix[sample, node] e = x
                           - from_parents(x, logit, w, place, sample, node,
                                          archetype);
  for (j in 1 : node) {
    target += normal_lpdf(e[ : , j] | 0, sigma[j]);
  }
}
generated quantities {
  vector[sample] log_lik; // log density of a sample
  matrix[sample, node] x_rep; // replicated data
  {
    matrix[sample, archetype] logit = rep_matrix(intercept', sample);
    matrix[sample, node] r = x;
    matrix[archetype, edge] w = edge_weight .* rep_matrix(allowed, archetype);
    for (j in 1 : covariate) {
      logit += tanh(c[ : , j] * inner[j]
                    + rep_matrix(inner_bias[j], sample))
               * outer[j];
    }
    for (i in 1 : sample) {
      matrix[node, node] W = mixture(softmax(logit[i]'), w, place, node);
      row_vector[node] noise = to_row_vector(normal_rng(rep_vector(0, node),
                                                        sigma));
      log_lik[i] = normal_lpdf(r[i] - r[i] * W | 0, sigma);
      x_rep[i] = noise / (identity_matrix(node) - W);
    }
  }
}
