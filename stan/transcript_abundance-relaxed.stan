// RNA-seq abundances of transcripts from equivalence classes of reads.
//
// Every read n comes from a transcript G_n, starts at S_n in orientation O_n, and is seen as the class e of reads that
// the same transcripts could have produced alike:
//
//   presence ~ Uniform(0, 1),  spread ~ LogNormal(log 2, 1/2)
//   log r_k ~ presence Normal(0, spread) + (1 - presence) Normal(-drop, 2),  drop = log(max(N / K, 1)) + 4,
//     of at least one k from the first
//   nu_k = l_k r_k / sum_j l_j r_j   (l: effective length)
//   G_n ~ Categorical(nu),  P(R_n in class e | G_n = k) = w_ek
//
// G, S and O are summed out: a class has the probability (W nu)_e. The table W is sparse; an entry holds the labels of
// its class and its transcript (counted from zero) and its weight. Weights that are known up to a factor for each class
// give the same posterior.
//
// Transcripts that are absent have next to no reads here, so that there is a density; whether a transcript is there is
// summed out.
//
// Units: reads; effective_length in nucleotides.
// Source: MCB112 (Harvard), week 9: the probability model of RNA-seq reads and its EM algorithm.
data {
  int<lower=1> transcript;
  int<lower=1> equivalence_class;
  int<lower=1> entry;
  array[entry] int<lower=0, upper=equivalence_class - 1> entry_class;
  array[entry] int<lower=0, upper=transcript - 1> entry_transcript;
  vector<lower=0>[entry] weight; // w
  vector<lower=0>[transcript] effective_length; // nucleotides
  int<lower=0> reads; // N
  array[equivalence_class] int<lower=0> count; // reads of each class
}
transformed data {
  // W by rows, as csr_matrix_times_vector wants it
  array[entry] int order = sort_indices_asc(entry_class);
  vector[entry] w = weight[order];
  array[entry] int column = rep_array(0, entry);
  array[equivalence_class + 1] int first_of = rep_array(1, equivalence_class
                                                           + 1);
  int seen = 0;
  real drop = log(fmax(reads * 1.0 / transcript, 1)) + 4;
  for (i in 1 : entry) {
    column[i] = entry_transcript[order[i]] + 1;
    first_of[entry_class[order[i]] + 2] += 1;
  }
  for (e in 2 : equivalence_class + 1) {
    first_of[e] += first_of[e - 1] - 1;
  }
  for (e in 1 : equivalence_class) {
    seen += count[e] > 0;
  }
  // Classes without reads add nothing, and may have probability zero.
  array[seen] int with_reads = rep_array(0, seen);
  vector[seen] c = rep_vector(0, seen);
  {
    int at = 0;
    for (e in 1 : equivalence_class) {
      if (count[e] > 0) {
        at += 1;
        with_reads[at] = e;
        c[at] = count[e];
      }
    }
  }
}
parameters {
  real<lower=0, upper=1> presence; // probability that a transcript is there
  real<lower=0> spread; // standard deviation of the log abundances of those that are
  vector[transcript] log_rate; // log r: abundances by nucleotide, up to a factor
}
transformed parameters {
  vector[transcript] nu = softmax(log_rate + log(effective_length)); // nucleotide abundances
}
model {
  vector[equivalence_class] p
    = csr_matrix_times_vector(equivalence_class, transcript, w, column,
                              first_of, nu);
  spread ~ lognormal(log(2), 0.5);
  {
    real some = 0; // minus the log of the mixture's share in which none is there
    for (k in 1 : transcript) {
      real there = log(presence) + normal_lpdf(log_rate[k] | 0, spread);
      real absent = log1m(presence) + normal_lpdf(log_rate[k] | -drop, 2);
      target += log_sum_exp(there, absent);
      some += log1p_exp(there - absent);
    }
    target += log1m_exp(-some) - log1m_exp(transcript * log1m(presence));
  }
  target += dot_product(c, log(p[with_reads]));
}
generated quantities {
  vector[transcript] tpm = nu ./ effective_length; // transcripts per million
  vector[equivalence_class] log_lik = rep_vector(0, equivalence_class);
  array[equivalence_class] int count_rep;
  tpm *= 1e6 / sum(tpm);
  {
    vector[equivalence_class] p
      = csr_matrix_times_vector(equivalence_class, transcript, w, column,
                                first_of, nu);
    log_lik[with_reads] = c .* log(p[with_reads]);
    count_rep = multinomial_rng(p / sum(p), reads);
  }
}
