package message

// Childless says whether an IKE_AUTH request asks for an IKE SA without a child
// (RFC 6023 §3): none of the payloads of one is there.
func (p *Payloads) Childless() bool { return p.SA == nil && p.TSi == nil && p.TSr == nil }
