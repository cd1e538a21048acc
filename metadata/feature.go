package metadata

// Features that brokers of this build can run, by Kafka's names. A feature is listed only
// when it is built; what a cluster uses is what it has finalized (FeatureChanged).
const (
	// FeatureMetadata is the level of Kafka's metadata semantics: 25 is Kafka 4.0.
	FeatureMetadata = "metadata.version"
	// FeatureELR is KIP-966: eligible leader replicas and the strict high watermark.
	FeatureELR = "eligible.leader.replicas.version"
)

// SupportedFeatures returns the ranges this build offers when it registers.
func SupportedFeatures() map[string]VersionRange {
	return map[string]VersionRange{
		FeatureMetadata: {Min: 7, Max: 25},
		FeatureELR:      {Min: 0, Max: 1},
	}
}

// InitialFeatures returns what a new cluster finalizes, as facts.
func InitialFeatures() []Change {
	return []Change{FeatureChanged{FeatureELR, 1}, FeatureChanged{FeatureMetadata, 25}}
}
