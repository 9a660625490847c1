// Negative binomial mixture: groups of cells from raw counts. The dispersion is unknown, one number for each gene.
//
// Every cell n belongs to one of K components, with probabilities pi. Every component k has a mean mu_kd for each gene
// d, and counts vary around it as a negative binomial:
//
//   phi_d ~ LogNormal(ln phi0, tau),  r_d = 1 / phi_d
//   pi ~ Dirichlet(alpha0, ..., alpha0)
//   p_kd ~ Beta(a0, b0),  mu_kd = r_d (1 - p_kd) / p_kd
//   G_n ~ Categorical(pi)
//   x_nd | G_n = k ~ NB(mean s_n mu_kd, variance mean + phi_d mean^2), genes independent given the group
//
// The groups G are summed out, and are in the draws as group_probability. Components are exchangeable: start chains
// near one mode and relabel before reading pi, mu and group_probability by component.
//
// Units: x and mu are molecules (raw counts), mu in a cell of size factor 1; all else has no unit.
// Source: MCB112 (Harvard), week 5: mixture models and expectation maximisation, for negative binomial counts.
functions {
  #include nb_mixture.stanfunctions
}
data {
  int<lower=1> cell;
  int<lower=1> gene;
  int<lower=1> component;
  vector<lower=0>[cell] size_factor; // s, relative depth; 1 for none
  real<lower=0> alpha0; // concentration of the Dirichlet prior of pi
  real<lower=0> a0; // first parameter of the beta prior of p
  real<lower=0> b0; // second parameter of that prior
  real<lower=0> phi0; // median of the log-normal prior of phi
  real<lower=0> tau; // standard deviation of ln phi in its prior
  array[cell, gene] int<lower=0> x; // counts
}
transformed data {
  matrix[gene, cell] count = to_matrix(x)';
  int same_depth = min(size_factor) == max(size_factor);
  vector[cell] log_depth = log_depth_factor(count, size_factor);
  real sum_log_depth = sum(log_depth);
  // The coefficients depend on phi: one for each distinct count of a gene,
  // the genes one after the other.
  int distinct_counts = 0;
  for (d in 1 : gene) {
    distinct_counts += size(distinct(x[ : , d]));
  }
  array[distinct_counts] int value;
  array[distinct_counts] int gene_of_value;
  vector[distinct_counts] times;
  {
    int last = 0;
    for (d in 1 : gene) {
      int U = size(distinct(x[ : , d]));
      array[U] int value_d = distinct(x[ : , d]);
      value[last + 1 : last + U] = value_d;
      gene_of_value[last + 1 : last + U] = rep_array(d, U);
      times[last + 1 : last + U] = occurrences(place(x[ : , d], value_d), U);
      last += U;
    }
  }
}
parameters {
  vector<lower=0>[gene] phi; // dispersion: variance = mean + phi mean^2
  simplex[component] pi; // weights
  matrix<lower=0>[component, gene] mu; // centroids
}
model {
  matrix[component, gene] log_phi = rep_matrix(log(phi)', component);
  matrix[component, cell] lp = log_joint(pi, log_odds(mu, log_phi), log_phi,
                                         count, size_factor, same_depth,
                                         component);
  target += lognormal_lpdf(phi | log(phi0), tau);
  target += dirichlet_lpdf(pi | rep_vector(alpha0, component));
  target += centroid_lpdf(mu | log_phi, a0, b0);
  target += sum_log_depth + sum_log_marginal(lp, cell);
  target += dot_product(times,
                        log_coefficient(to_vector(value),
                                        inv(phi)[gene_of_value]));
}
generated quantities {
  vector[cell] log_lik; // log P(x_n | phi, pi, mu)
  matrix[cell, component] group_probability; // P(G_n = k | x_n, phi, pi, mu)
  array[cell, gene] int x_rep; // replicated counts, of new groups drawn from pi
  {
    matrix[component, gene] log_phi = rep_matrix(log(phi)', component);
    matrix[component, cell] lp = log_joint(pi, log_odds(mu, log_phi),
                                           log_phi, count, size_factor,
                                           same_depth, component);
    vector[gene] r = inv(phi);
    vector[cell] log_constant = log_depth + log_coefficient_of_cell(count, r);
    for (n in 1 : cell) {
      int k = categorical_rng(pi);
      log_lik[n] = log_constant[n] + log_sum_exp(lp[ : , n]);
      group_probability[n] = softmax(lp[ : , n])';
      x_rep[n] = count_rng(size_factor[n] * mu[k]', r);
    }
  }
}

