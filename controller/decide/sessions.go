package decide

// Sessions is the soft state of the active controller.
type Sessions struct{}
