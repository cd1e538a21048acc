package metadata

// Features that brokers of this build can run, by Kafka's names. A feature is listed only when it is built; what a
// cluster uses is what it has finalized (FeatureChanged). Clients change their behaviour by the finalized ones (trap 4).
const (
	// FeatureMetadata is the level of Kafka's metadata semantics: 33 is Kafka 4.4 (4.4-IV2).
	FeatureMetadata      = "metadata.version"
	featureMetadataLevel = 33
	// FeatureKRaft is the level of the quorum's own protocol: 1 has voters that can be added and removed (KIP-853).
	FeatureKRaft      = "kraft.version"
	featureKRaftLevel = 1
)

// SupportedFeatures returns the ranges this build offers when it registers.
func SupportedFeatures() map[string]VersionRange {
	return map[string]VersionRange{
		FeatureMetadata: {Min: featureMetadataLevel, Max: featureMetadataLevel},
		FeatureKRaft:    {Min: 0, Max: featureKRaftLevel},
	}
}

// InitialFeatures returns what a new cluster finalizes, as facts.
func InitialFeatures() []Change {
	return []Change{FeatureChanged{FeatureKRaft, featureKRaftLevel}, FeatureChanged{FeatureMetadata, featureMetadataLevel}}
}
